#include "client/commands/source.h"

#include <fmt/format.h>

#include "client/output/text.h"
#include "proto/contract/resource_name.h"

namespace kdbg::client {
namespace {

std::string Origin(const v1::Source& source) {
  switch (source.origin_case()) {
    case v1::Source::kTarball:
      return source.tarball().file_name().empty() ? source.tarball().sha256().substr(0, 12)
                                                  : source.tarball().file_name();
    case v1::Source::kServerPath:
      return "server:" + source.server_path().path();
    case v1::Source::kGitPack:
      return fmt::format(
          "{} {}{}", source.git_pack().directory(), source.git_pack().commit().substr(0, 12),
          source.git_pack().dirty() && !source.git_pack().commit().empty() ? " + changes" : "");
    case v1::Source::kGitUrl:
      return fmt::format("{} {} {}", source.git_url().url(), source.git_url().ref(),
                         source.git_url().commit().substr(0, 12));
    case v1::Source::kTarballUrl:
      return source.tarball_url().url();
    case v1::Source::kPatched: {
      std::string text = source.patched().source();
      for (const auto& patch : source.patched().patches()) text += " + " + patch.name();
      return text;
    }
    case v1::Source::ORIGIN_NOT_SET:
      break;
  }
  return "";
}

absl::StatusOr<std::string> SourceName(const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kSources, text));
  return ResourceName(kSources, id);
}

Details SourceDetails(const v1::Source& source) {
  return {{"Source", source.name()},
          {"State", v1::Source::State_Name(source.state())},
          {"Failure", source.failure().message()},
          {"From", Origin(source)},
          {"Project", fmt::format("{} {}", source.project(), source.project_version())},
          {"Tree", source.tree()},
          {"Files", source.files_imported() == 0 ? ""
                                                 : fmt::format("{}, {}", source.files_imported(),
                                                               Bytes(source.bytes_imported()))},
          {"Owner", source.owner()},
          {"Created", Moment(source.create_time())}};
}

}  // namespace

CommandEnd SourceList(Context& context) {
  KDBG_ASSIGN_OR_RETURN(const v1::ListSourcesResponse list,
                        context.ListAll<v1::SourceService>(&v1::SourceService::Stub::ListSources,
                                                           v1::ListSourcesRequest()));
  std::vector<Row> rows;
  for (const v1::Source& source : list.sources()) {
    rows.push_back({ShortName(source.name()), v1::Source::State_Name(source.state()),
                    fmt::format("{} {}", source.project(), source.project_version()),
                    Origin(source), Age(source.create_time())});
  }
  context.output().List(list, "sources",
                        {{"SOURCE"}, {"STATE"}, {"PROJECT"}, {"FROM"}, {"AGE", Align::kRight}},
                        rows);
  return kExitDone;
}

CommandEnd SourceShow(Context& context, const std::string& text) {
  v1::GetSourceRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SourceName(text));
  KDBG_ASSIGN_OR_RETURN(const v1::Source source, context.Call<v1::SourceService>(
                                                     &v1::SourceService::Stub::GetSource, request));
  context.output().Resource(source, source.name(), SourceDetails(source));
  return kExitDone;
}

CommandEnd SourceCat(Context& context, const std::string& text, const std::string& path) {
  KDBG_ASSIGN_OR_RETURN(const std::string name, SourceName(text));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  KDBG_ASSIGN_OR_RETURN(const std::string content, ReadSourceFile(*server, name, path));
  Output::Write(content);
  return kExitDone;
}

CommandEnd SourceTrust(Context& context, const std::string& text) {
  v1::TrustSourceRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SourceName(text));
  KDBG_ASSIGN_OR_RETURN(
      const v1::Source source,
      context.Call<v1::SourceService>(&v1::SourceService::Stub::TrustSource, request));
  context.output().Resource(source, source.name(), SourceDetails(source));
  return kExitDone;
}

CommandEnd SourceDelete(Context& context, const std::string& text) {
  v1::DeleteSourceRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SourceName(text));
  const auto deleted =
      context.Call<v1::SourceService>(&v1::SourceService::Stub::DeleteSource, request);
  if (!deleted.ok()) return deleted.status();
  context.output().Note(fmt::format("{} deleted", request.name()));
  return kExitDone;
}

absl::StatusOr<std::string> ReadSourceFile(Server& server, const std::string& source,
                                           const std::string& path) {
  v1::ReadSourceFilesRequest request;
  request.set_name(source);
  request.add_paths(path);
  grpc::ClientContext call;
  Server::SetDeadline(call, kUnaryDeadline);
  auto reader = server.stub<v1::SourceService>().ReadSourceFiles(&call, request);
  v1::SourceFileChunk chunk;
  std::string content;
  bool missing = false;
  while (reader->Read(&chunk)) {
    missing |= chunk.missing();
    content += chunk.data();
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) return server.Translate(status);
  if (missing) return absl::NotFoundError(fmt::format("{} has no file {}", source, path));
  return content;
}

}  // namespace kdbg::client
