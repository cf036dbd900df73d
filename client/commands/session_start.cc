#include "client/commands/session_start.h"

#include <fmt/format.h>
#include <unistd.h>

#include "client/commands/failure_report.h"
#include "client/commands/lookup.h"
#include "client/commands/packed_upload.h"
#include "client/output/progress.h"
#include "client/output/text.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

absl::Status SetAccelerator(const std::string& text, v1::GuestShape& shape) {
  if (text.empty() || text == "auto") return absl::OkStatus();
  if (text != "kvm" && text != "tcg") {
    return absl::InvalidArgumentError(fmt::format("--accel {}: write auto, kvm or tcg", text));
  }
  shape.set_accelerator(text == "kvm" ? v1::GuestShape::KVM : v1::GuestShape::TCG);
  return absl::OkStatus();
}

absl::Status SetOrders(const SessionCreateOptions& options, v1::Session& session) {
  const std::string& on_panic = options.on_panic;
  if (!on_panic.empty() && on_panic != "stay" && on_panic != "dump" && on_panic != "reset") {
    return absl::InvalidArgumentError(
        fmt::format("--on-panic {}: write stay, dump or reset", on_panic));
  }
  if (on_panic == "dump") session.set_on_panic(v1::Session::DUMP);
  if (on_panic == "reset") session.set_on_panic(v1::Session::RESET);
  if (!options.on_expiry.empty() && options.on_expiry != "end" && options.on_expiry != "dump") {
    return absl::InvalidArgumentError(
        fmt::format("--on-expiry {}: write end or dump", options.on_expiry));
  }
  if (options.on_expiry == "dump") session.set_on_expiry(v1::Session::DUMP_AND_END);
  return absl::OkStatus();
}

void SetStopPoint(const std::string& text, v1::Session& session) {
  if (text.empty()) return;
  v1::StopPoint& point = *session.mutable_stop_point();
  if (text == "shell") {
    point.set_shell(true);
  } else if (text == "reset") {
    point.set_reset(true);
  } else if (text == "none") {
    point.set_none(true);
  } else {
    point.set_symbol(text);
  }
}

absl::StatusOr<v1::Session> Describe(Context& context, const SessionCreateOptions& options) {
  v1::Session session;
  v1::GuestShape& shape = *session.mutable_shape();
  if (options.cpus) shape.set_vcpu_count(*options.cpus);
  if (!options.memory.empty()) {
    KDBG_ASSIGN_OR_RETURN(const std::int64_t memory, ParseMemory(options.memory));
    shape.set_memory_mib(memory);
  }
  KDBG_RETURN_IF_ERROR(SetAccelerator(options.accelerator, shape));
  shape.set_randomize_base(options.kaslr);
  if (!options.ttl.empty()) {
    KDBG_ASSIGN_OR_RETURN(const absl::Duration ttl, ParseTtl(options.ttl));
    *session.mutable_ttl() = ToProto(ttl);
  }
  if (options.net) session.mutable_network();
  for (const int port : options.forwards) {
    session.mutable_network()->add_forwards()->set_guest_port(port);
  }
  if (!options.folder.empty()) {
    KDBG_ASSIGN_OR_RETURN(const v1::Upload upload, UploadTar(context, "--share", options.folder));
    session.mutable_folder()->set_upload(upload.name());
  }
  for (const std::string& device : options.devices) session.add_devices(device);
  if (!options.disk.empty()) session.mutable_disk()->set_image(options.disk);
  KDBG_RETURN_IF_ERROR(SetOrders(options, session));
  SetStopPoint(options.stop_at, session);
  session.set_kernel_arguments(options.append);
  if (!options.kernel.empty()) {
    KDBG_ASSIGN_OR_RETURN(const v1::Build kernel, FindBuild(context, options.kernel));
    session.set_kernel(kernel.name());
  }
  if (options.initramfs == "none") {
    session.set_initramfs("none");
  } else if (!options.initramfs.empty()) {
    KDBG_ASSIGN_OR_RETURN(const v1::Build initramfs, FindBuild(context, options.initramfs));
    session.set_initramfs(initramfs.name());
  }
  return session;
}

std::string StopPointName(const v1::StopPoint& point) {
  switch (point.point_case()) {
    case v1::StopPoint::kSymbol:
      return point.symbol();
    case v1::StopPoint::kShell:
      return "the shell";
    case v1::StopPoint::kReset:
      return "reset";
    case v1::StopPoint::kNone:
      return "nowhere";
    case v1::StopPoint::POINT_NOT_SET:
      break;
  }
  return "start_kernel";
}

std::string Doing(const v1::Session& session) {
  if (session.state() == v1::Session::QUEUED) {
    return fmt::format("waiting for room, place {}", session.queue_place());
  }
  if (session.state() != v1::Session::BOOTING) return "creating the guest";
  return fmt::format("booting to {}", StopPointName(session.stop_point()));
}

bool Moving(const v1::Session& session) {
  return session.state() == v1::Session::CREATING || session.state() == v1::Session::BOOTING ||
         session.state() == v1::Session::QUEUED ||
         session.state() == v1::Session::STATE_UNSPECIFIED;
}

}  // namespace

absl::StatusOr<v1::Session> CreateSession(Context& context, const SessionCreateOptions& options) {
  v1::CreateSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_session(), Describe(context, options));
  request.set_request_id(NewRequestId());
  request.set_queue(options.queue);
  return context.Call<v1::SessionService>(&v1::SessionService::Stub::CreateSession, request);
}

absl::StatusOr<v1::Session> AwaitReady(Context& context, const v1::Session& created,
                                       IfInterrupted interrupted) {
  if (!Moving(created)) return created;
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  v1::GetSessionRequest request;
  request.set_name(created.name());
  v1::Session session = created;
  Progress progress(context.output());
  const absl::Status status = Follow<v1::Session>(
      *server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server->stub<v1::SessionService>().WatchSession(call, request);
      },
      [&](const v1::Session& now) {
        session = now;
        if (!Moving(now)) return Next::kEnough;
        progress.Update(Doing(now), "");
        return Next::kGoOn;
      });
  progress.Clear();
  if (IsInterrupted(status) && interrupted == IfInterrupted::kEndSession) {
    KDBG_RETURN_IF_ERROR(SessionDelete(context, {session.name()}).status());
  } else if (IsInterrupted(status)) {
    context.output().Note(fmt::format(
        "stopped waiting: session {0} goes on (kdbgctl session show {0}, kdbgctl session rm {0})",
        ShortName(session.name())));
  }
  if (!status.ok()) return status;
  return session;
}

int ReportReadiness(const v1::Session& session) {
  if (session.state() == v1::Session::READY) return kExitDone;
  std::string report;
  if (session.has_failure()) {
    report = FailureReport(session.name(), session.failure());
  } else {
    report = fmt::format("kdbgctl: {} is {}{}{}\n", session.name(),
                         v1::Session::State_Name(session.state()),
                         session.end_reason().empty() ? "" : ": ", session.end_reason());
  }
  if (session.console_size_bytes() > 0) {
    report +=
        fmt::format("its console: kdbgctl console {} --read-only\n", ShortName(session.name()));
  }
  (void)WriteAll(STDERR_FILENO, report);
  return kExitFailed;
}

}  // namespace kdbg::client
