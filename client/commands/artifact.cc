#include "client/commands/artifact.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <system_error>

#include "client/channel/download.h"
#include "client/commands/lookup.h"
#include "client/output/progress.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

absl::StatusOr<std::vector<v1::ArtifactFile>> Choose(const v1::Artifact& artifact,
                                                     const std::vector<std::string>& paths) {
  if (paths.empty())
    return std::vector<v1::ArtifactFile>(artifact.files().begin(), artifact.files().end());
  std::vector<v1::ArtifactFile> chosen;
  for (const std::string& path : paths) {
    std::vector<std::string> known;
    for (const v1::ArtifactFile& file : artifact.files()) {
      if (file.path() == path) chosen.push_back(file);
      known.push_back(file.path());
    }
    if (chosen.empty() || chosen.back().path() != path) {
      return absl::NotFoundError(fmt::format("{} has no file {}; it has {}", artifact.name(), path,
                                             fmt::join(known, ", ")));
    }
  }
  return chosen;
}

absl::StatusOr<std::filesystem::path> DestinationOf(const v1::Artifact& artifact,
                                                    const v1::ArtifactFile& file,
                                                    const ArtifactGetOptions& options) {
  KDBG_RETURN_IF_ERROR(CheckRelativePath(file.path()));
  const std::filesystem::path named = options.destination;
  std::error_code error;
  if (!named.empty() && options.files.size() == 1 && named.has_filename() &&
      !std::filesystem::is_directory(named, error)) {
    return named;
  }
  if (!named.empty()) return named / file.path();
  return options.files.empty() ? ShortName(artifact.name()) / std::filesystem::path(file.path())
                               : std::filesystem::path(file.path());
}

absl::Status FetchOne(Context& context, const v1::Artifact& artifact, const v1::ArtifactFile& file,
                      const std::filesystem::path& destination) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  Progress progress(context.output());
  return DownloadFile(
      *server, context.interrupt(), artifact.name(), file, destination, [&](std::int64_t received) {
        progress.Update(fmt::format("fetching {}", file.path()),
                        fmt::format("{} of {}", Bytes(received), Bytes(file.size_bytes())));
      });
}

}  // namespace

Details ArtifactDetails(const v1::Artifact& artifact) {
  std::vector<Row> files;
  for (const v1::ArtifactFile& file : artifact.files()) {
    files.push_back({file.path(), Bytes(file.size_bytes()), file.sha256().substr(0, 12)});
  }
  std::string table =
      files.empty() ? "" : FormatTable({{"PATH"}, {"SIZE", Align::kRight}, {"SHA256"}}, files);
  if (!table.empty()) table.pop_back();
  return {
      {"Artifact", ShortName(artifact.name())},
      {"Kind", v1::Artifact::Kind_Name(artifact.kind())},
      {"Version", artifact.version()},
      {"Architecture", ArchitectureName(artifact.architecture())},
      {"GNU build id", artifact.build_id()},
      {"Build", fmt::format("{}{}{}", ShortName(artifact.build()),
                            artifact.display_name().empty() ? "" : ", ", artifact.display_name())},
      {"Source", ShortName(artifact.source())},
      {"Size", Bytes(artifact.size_bytes())},
      {"Pinned by", fmt::format("{}", fmt::join(artifact.pins(), ", "))},
      {"Owner", fmt::format("{}{}", artifact.owner(), artifact.private_() ? " (private)" : "")},
      {"Created", Moment(artifact.create_time())},
      {"Last used", Moment(artifact.last_used_time())},
      {"Files", table}};
}

CommandEnd ArtifactList(Context& context, Owners owners) {
  v1::ListArtifactsRequest request;
  request.set_all_owners(owners == Owners::kAll);
  KDBG_ASSIGN_OR_RETURN(
      const v1::ListArtifactsResponse list,
      context.ListAll<v1::ArtifactService>(&v1::ArtifactService::Stub::ListArtifacts, request));
  std::vector<Row> rows;
  for (const v1::Artifact& artifact : list.artifacts()) {
    rows.push_back({ShortName(artifact.name()), v1::Artifact::Kind_Name(artifact.kind()),
                    artifact.display_name(), artifact.version(),
                    ArchitectureName(artifact.architecture()), ShortName(artifact.build()),
                    Bytes(artifact.size_bytes()), Age(artifact.create_time()), artifact.owner()});
  }
  context.output().List(list, "artifacts",
                        {{"ARTIFACT"},
                         {"KIND"},
                         {"NAME"},
                         {"VERSION"},
                         {"ARCH"},
                         {"BUILD"},
                         {"SIZE", Align::kRight},
                         {"AGE", Align::kRight},
                         {"OWNER"}},
                        rows);
  return kExitDone;
}

CommandEnd ArtifactShow(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact artifact, FindArtifact(context, text));
  context.output().Resource(artifact, artifact.name(), ArtifactDetails(artifact));
  return kExitDone;
}

CommandEnd ArtifactGet(Context& context, const ArtifactGetOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact artifact, FindArtifact(context, options.artifact));
  KDBG_ASSIGN_OR_RETURN(const std::vector<v1::ArtifactFile> files, Choose(artifact, options.files));
  if (options.to_stdout) {
    if (files.size() != 1) return absl::InvalidArgumentError("--stdout takes exactly one FILE");
    KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
    KDBG_RETURN_IF_ERROR(ReadArtifactFile(*server, context.interrupt(), artifact.name(), files[0],
                                          [](std::string_view bytes) {
                                            Output::Write(bytes);
                                            return absl::OkStatus();
                                          }));
    return kExitDone;
  }
  std::string written;
  for (const v1::ArtifactFile& file : files) {
    KDBG_ASSIGN_OR_RETURN(const std::filesystem::path destination,
                          DestinationOf(artifact, file, options));
    KDBG_RETURN_IF_ERROR(FetchOne(context, artifact, file, destination));
    written += destination.string() + "\n";
  }
  if (context.output().format() == Format::kJson) {
    context.output().Resource(artifact, artifact.name(), {});
  } else {
    Output::Write(written);
  }
  return kExitDone;
}

CommandEnd ArtifactPin(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact found, FindArtifact(context, text));
  v1::PinArtifactRequest request;
  request.set_name(found.name());
  KDBG_ASSIGN_OR_RETURN(
      const v1::Artifact artifact,
      context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::PinArtifact, request));
  context.output().Resource(artifact, artifact.name(), ArtifactDetails(artifact));
  return kExitDone;
}

CommandEnd ArtifactUnpin(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact found, FindArtifact(context, text));
  v1::UnpinArtifactRequest request;
  request.set_name(found.name());
  KDBG_ASSIGN_OR_RETURN(
      const v1::Artifact artifact,
      context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::UnpinArtifact, request));
  context.output().Resource(artifact, artifact.name(), ArtifactDetails(artifact));
  return kExitDone;
}

CommandEnd ArtifactDelete(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact artifact, FindArtifact(context, text));
  v1::DeleteArtifactRequest request;
  request.set_name(artifact.name());
  const auto deleted =
      context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::DeleteArtifact, request);
  if (!deleted.ok()) return deleted.status();
  context.output().Note(fmt::format("{} deleted", artifact.name()));
  return kExitDone;
}

CommandEnd ArtifactPrune(Context& context, const ArtifactPruneOptions& options) {
  using Removal = v1::PruneArtifactsResponse::Removal;
  v1::PruneArtifactsRequest request;
  request.set_dry_run(options.dry_run);
  request.set_all_owners(options.owners == Owners::kAll);
  if (!options.unused_for.empty()) {
    KDBG_ASSIGN_OR_RETURN(const absl::Duration age, ParseTtl(options.unused_for));
    *request.mutable_unused_for() = ToProto(age);
  }
  KDBG_ASSIGN_OR_RETURN(
      const v1::PruneArtifactsResponse response,
      context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::PruneArtifacts, request));
  std::vector<Row> rows;
  for (const Removal& removal : response.removals()) {
    const v1::Artifact& artifact = removal.artifact();
    rows.push_back({ShortName(artifact.name()), artifact.display_name(), artifact.version(),
                    Bytes(removal.freed_bytes()), Age(artifact.last_used_time()),
                    removal.cause() == Removal::ROOM ? "for room" : "unused", artifact.owner()});
  }
  context.output().List(response, "removals",
                        {{"ARTIFACT"},
                         {"NAME"},
                         {"VERSION"},
                         {"FREES", Align::kRight},
                         {"LAST USED", Align::kRight},
                         {"WHY"},
                         {"OWNER"}},
                        rows);
  context.output().Note(fmt::format("{} {} artifact{}, {}",
                                    options.dry_run ? "would delete" : "deleted", rows.size(),
                                    rows.size() == 1 ? "" : "s", Bytes(response.freed_bytes())));
  return kExitDone;
}

}  // namespace kdbg::client
