#include "client/commands/build_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include "client/commands/build.h"
#include "client/commands/failure_report.h"
#include "client/output/progress.h"
#include "client/output/text.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

std::string PhaseDetail(const v1::BuildProgress& progress) {
  if (progress.phase() == v1::BuildProgress::COMPILING && progress.steps_done() > 0) {
    if (progress.steps_expected() == 0) return fmt::format("{} objects", progress.steps_done());
    std::string detail =
        fmt::format("{} {}/{} objects{}", Bar(progress.steps_done(), progress.steps_expected()),
                    progress.steps_done(), progress.steps_expected(),
                    progress.steps_expected_estimated() ? " (estimated)" : "");
    if (progress.has_time_left()) {
      detail += fmt::format(", {:.0f}/s, {} left", progress.steps_per_second(),
                            Elapsed(ToDuration(progress.time_left())));
    }
    return detail;
  }
  if (progress.queue_position() > 1)
    return fmt::format("{} before it", progress.queue_position() - 1);
  return "";
}

bool HasEnded(const v1::Build& build) {
  return build.state() == v1::Build::SUCCEEDED || build.state() == v1::Build::FAILED ||
         build.state() == v1::Build::CANCELLED;
}

}  // namespace

std::string PhaseName(const v1::Build& build) {
  switch (build.progress().phase()) {
    case v1::BuildProgress::CHECKING_OUT:
      return "checking out";
    case v1::BuildProgress::CONFIGURING:
      return "configuring";
    case v1::BuildProgress::COMPILING:
      return "compiling";
    case v1::BuildProgress::VERIFYING:
      return "verifying";
    case v1::BuildProgress::PACKING:
      return "packing";
    case v1::BuildProgress::PUBLISHING:
      return "publishing";
    default:
      return build.state() == v1::Build::QUEUED ? "queued" : "starting";
  }
}

absl::StatusOr<v1::Build> WatchBuild(Context& context, const std::string& name) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  v1::GetBuildRequest request;
  request.set_name(name);
  v1::Build build;
  build.set_name(name);
  Progress progress(context.output());
  const absl::Status status = Follow<v1::Build>(
      *server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server->stub<v1::BuildService>().WatchBuild(call, request);
      },
      [&](const v1::Build& now) {
        build = now;
        if (now.has_create_time()) progress.SetStart(ToTime(now.create_time()));
        if (HasEnded(now)) return Next::kEnough;
        progress.Update(PhaseName(now), PhaseDetail(now.progress()));
        return Next::kGoOn;
      });
  progress.Clear();
  if (IsInterrupted(status)) {
    const std::string id = ShortName(build.name());
    context.output().Note(fmt::format(
        "stopped watching: build {0} goes on (kdbgctl build watch {0}, kdbgctl build cancel {0})",
        id));
  }
  if (!status.ok()) return status;
  if (!HasEnded(build)) {
    return absl::UnavailableError(
        fmt::format("the server ended the watch before {} did: try again", build.name()));
  }
  return build;
}

int ReportBuild(Context& context, const v1::Build& build) {
  const std::string id = ShortName(build.name());
  if (context.output().format() != Format::kTable || build.state() == v1::Build::SUCCEEDED) {
    context.output().Resource(build, build.name(), BuildDetails(build));
  }
  if (build.state() == v1::Build::SUCCEEDED) return kExitDone;
  std::string report = build.state() == v1::Build::FAILED
                           ? FailureReport(build.name(), build.failure())
                           : fmt::format("kdbgctl: {} was cancelled\n", build.name());
  if (build.state() == v1::Build::FAILED && build.log_size_bytes() > 0) {
    report += fmt::format("the whole log: kdbgctl build log {}\n", id);
  }
  (void)WriteAll(STDERR_FILENO, report);
  return kExitFailed;
}

CommandEnd StartBuild(Context& context, const v1::Build& wanted, Detach detach) {
  v1::CreateBuildRequest request;
  *request.mutable_build() = wanted;
  request.set_request_id(NewRequestId());
  KDBG_ASSIGN_OR_RETURN(v1::Build build, context.Call<v1::BuildService>(
                                             &v1::BuildService::Stub::CreateBuild, request));
  if (detach == Detach::kYes) {
    context.output().Resource(build, build.name(), BuildDetails(build));
    return kExitDone;
  }
  if (!HasEnded(build)) {
    KDBG_ASSIGN_OR_RETURN(build, WatchBuild(context, build.name()));
  }
  return ReportBuild(context, build);
}

}  // namespace kdbg::client
