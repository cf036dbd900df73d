#include "client/commands/build.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "client/commands/build_watch.h"
#include "client/commands/lookup.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

std::string Kind(const v1::Build& build) {
  return build.has_kernel() ? "kernel" : build.has_initramfs() ? "initramfs" : "";
}

absl::Duration Took(const v1::Build& build) {
  if (!build.has_start_time()) return absl::ZeroDuration();
  const absl::Time end = build.has_end_time() ? ToTime(build.end_time()) : absl::Now();
  return end - ToTime(build.start_time());
}

std::string CacheShare(const v1::BuildProgress& progress) {
  const std::int64_t all = progress.cache_hits() + progress.cache_misses();
  if (all == 0) return "";
  return fmt::format("{} of {} objects ({} %)", progress.cache_hits(), all,
                     progress.cache_hits() * 100 / all);
}

}  // namespace

Details BuildDetails(const v1::Build& build) {
  std::string failure = build.failure().message();
  if (!build.failure().file().empty()) {
    failure = fmt::format("{}:{}: {}", build.failure().file(), build.failure().line(), failure);
  }
  return {{"Build", ShortName(build.name())},
          {"Name", build.display_name()},
          {"Kind", Kind(build)},
          {"State", v1::Build::State_Name(build.state())},
          {"Failure", failure},
          {"Excerpt", build.failure().excerpt()},
          {"Artifact", ShortName(build.artifact())},
          {"Took", build.answered_from_store() ? "nothing: it was in the store already"
                   : build.has_start_time()    ? Elapsed(Took(build))
                                               : ""},
          {"From cache", CacheShare(build.progress())},
          {"Source", ShortName(build.source())},
          {"Workspace", build.workspace()},
          {"Log", build.log_size_bytes() > 0 ? Bytes(build.log_size_bytes()) : ""},
          {"Owner", fmt::format("{}{}", build.owner(), build.private_() ? " (private)" : "")},
          {"Readers", fmt::format("{}", fmt::join(build.readers(), ", "))},
          {"Created", Moment(build.create_time())}};
}

CommandEnd BuildList(Context& context, Owners owners) {
  v1::ListBuildsRequest request;
  request.set_all_owners(owners == Owners::kAll);
  KDBG_ASSIGN_OR_RETURN(
      const v1::ListBuildsResponse list,
      context.ListAll<v1::BuildService>(&v1::BuildService::Stub::ListBuilds, request));
  std::vector<Row> rows;
  for (const v1::Build& build : list.builds()) {
    rows.push_back({ShortName(build.name()), build.display_name(), Kind(build),
                    v1::Build::State_Name(build.state()), ShortName(build.artifact()),
                    build.has_start_time() ? Elapsed(Took(build)) : "", Age(build.create_time()),
                    build.owner()});
  }
  std::vector<Column> columns = {{"BUILD"},
                                 {"NAME"},
                                 {"KIND"},
                                 {"STATE"},
                                 {"ARTIFACT"},
                                 {"TOOK", Align::kRight},
                                 {"AGE", Align::kRight},
                                 {"OWNER"}};
  context.output().List(list, "builds", columns, rows);
  return kExitDone;
}

CommandEnd BuildShow(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Build build, FindBuild(context, text));
  context.output().Resource(build, build.name(), BuildDetails(build));
  return kExitDone;
}

CommandEnd BuildShare(Context& context, const BuildShareOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const v1::Build found, FindBuild(context, options.build));
  v1::ShareBuildRequest request;
  request.set_name(found.name());
  request.set_user(options.user);
  request.set_take_back(options.take_back);
  KDBG_ASSIGN_OR_RETURN(const v1::Build build, context.Call<v1::BuildService>(
                                                   &v1::BuildService::Stub::ShareBuild, request));
  context.output().Resource(build, build.name(), BuildDetails(build));
  return kExitDone;
}

CommandEnd BuildWatch(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Build found, FindBuild(context, text));
  KDBG_ASSIGN_OR_RETURN(const v1::Build build, WatchBuild(context, found.name()));
  return ReportBuild(context, build);
}

CommandEnd BuildLog(Context& context, const BuildLogOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const v1::Build build, FindBuild(context, options.build));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  v1::ReadBuildLogRequest request;
  request.set_name(build.name());
  request.set_offset_bytes(options.since_bytes);
  request.set_follow(options.follow);
  KDBG_RETURN_IF_ERROR(Follow<v1::LogChunk>(
      *server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server->stub<v1::BuildService>().ReadBuildLog(call, request);
      },
      [&](const v1::LogChunk& chunk) {
        Output::Write(chunk.data());
        // Where a new stream would go on.
        request.set_offset_bytes(chunk.offset_bytes() +
                                 static_cast<std::int64_t>(chunk.data().size()));
        return Next::kGoOn;
      }));
  return kExitDone;
}

CommandEnd BuildCancel(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Build found, FindBuild(context, text));
  v1::CancelBuildRequest request;
  request.set_name(found.name());
  KDBG_ASSIGN_OR_RETURN(const v1::Build build, context.Call<v1::BuildService>(
                                                   &v1::BuildService::Stub::CancelBuild, request));
  context.output().Resource(build, build.name(), BuildDetails(build));
  return kExitDone;
}

CommandEnd BuildDelete(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Build found, FindBuild(context, text));
  v1::DeleteBuildRequest request;
  request.set_name(found.name());
  const auto deleted =
      context.Call<v1::BuildService>(&v1::BuildService::Stub::DeleteBuild, request);
  if (!deleted.ok()) return deleted.status();
  context.output().Note(fmt::format("{} deleted", request.name()));
  return kExitDone;
}

}  // namespace kdbg::client
