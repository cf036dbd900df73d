#include "client/commands/source_import.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "client/commands/directory_import.h"
#include "client/commands/upload.h"
#include "client/commands/user_file.h"
#include "client/output/progress.h"
#include "client/output/text.h"
#include "proto/contract/resource_name.h"

namespace kdbg::client {
namespace {

constexpr std::string_view kServerPath = "server:";
constexpr std::size_t kPatchBytes = std::size_t{4} << 20;  // the contract's bound for all

absl::StatusOr<v1::Source> Create(Context& context, const v1::Source& wanted) {
  v1::CreateSourceRequest request;
  *request.mutable_source() = wanted;
  request.set_request_id(NewRequestId());
  return context.Call<v1::SourceService>(&v1::SourceService::Stub::CreateSource, request);
}

bool IsUrl(std::string_view text) {
  return text.find("://") != text.npos || text.starts_with("git@") || text.ends_with(".git");
}

bool IsTarballUrl(std::string_view text) {
  return text.starts_with("https://") && text.substr(text.rfind('/')).find(".tar") != text.npos;
}

absl::StatusOr<v1::Source> FindSource(Context& context, const std::string& text) {
  v1::GetSourceRequest request;
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kSources, text, "source"));
  request.set_name(ResourceName(kSources, id));
  return context.Call<v1::SourceService>(&v1::SourceService::Stub::GetSource, request);
}

// A tarball the server knows by its digest is ready at once; only another one travels.
absl::StatusOr<v1::Source> FromTarball(Context& context, const std::filesystem::path& path,
                                       Progress& progress) {
  KDBG_ASSIGN_OR_RETURN(const LocalFile file, OpenAndHash(path, progress));
  v1::Source wanted;
  wanted.mutable_tarball()->set_sha256(file.sha256);
  wanted.mutable_tarball()->set_file_name(path.filename().string());
  auto known = Create(context, wanted);
  if (!absl::IsNotFound(known.status())) return known;
  KDBG_ASSIGN_OR_RETURN(const v1::Upload upload, UploadFile(context, file, progress));
  wanted.mutable_tarball()->set_upload(upload.name());
  return Create(context, wanted);
}

absl::StatusOr<v1::Source> Start(Context& context, const SourceArgument& argument,
                                 Progress& progress) {
  const std::string& text = argument.text;
  v1::Source wanted;
  if (text.starts_with(kServerPath)) {
    wanted.mutable_server_path()->set_path(text.substr(kServerPath.size()));
    return Create(context, wanted);
  }
  if (text.starts_with("sources/")) return FindSource(context, text);
  std::error_code error;
  const auto kind = std::filesystem::status(text, error).type();
  if (kind == std::filesystem::file_type::directory) {
    return ImportDirectory(
        context, {.directory = text, .ref = argument.ref, .project = argument.project}, progress);
  }
  if (kind == std::filesystem::file_type::not_found) {
    if (IsTarballUrl(text)) {
      wanted.mutable_tarball_url()->set_url(text);
      wanted.mutable_tarball_url()->set_sha256(argument.sha256);
      return Create(context, wanted);
    }
    if (IsUrl(text)) {
      wanted.mutable_git_url()->set_url(text);
      wanted.mutable_git_url()->set_ref(argument.ref.empty() ? "HEAD" : argument.ref);
      return Create(context, wanted);
    }
    auto found = IsResourceId(text) ? FindSource(context, text)
                                    : absl::StatusOr<v1::Source>(absl::NotFoundError(""));
    if (!absl::IsNotFound(found.status())) return found;
    return absl::NotFoundError(fmt::format(
        "{}: no such file here and no source of that id; a path on the server is written "
        "server:/PATH",
        text));
  }
  return FromTarball(context, text, progress);
}

absl::Status AwaitImport(Context& context, const SourceArgument& argument, Progress& progress,
                         v1::Source& source) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  v1::GetSourceRequest request;
  request.set_name(source.name());
  return Follow<v1::Source>(
      *server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server->stub<v1::SourceService>().WatchSource(call, request);
      },
      [&](const v1::Source& now) {
        source = now;
        if (now.state() != v1::Source::IMPORTING) return Next::kEnough;
        const bool fetching =
            now.files_imported() == 0 && (now.has_git_url() || now.has_tarball_url());
        if (fetching && now.bytes_imported() == 0) {
          progress.Update("fetching", argument.text);
        } else if (fetching) {
          progress.Update("fetching", Bytes(now.bytes_imported()));
        } else {
          progress.Update("importing", fmt::format("{} files, {}", now.files_imported(),
                                                   Bytes(now.bytes_imported())));
        }
        return Next::kGoOn;
      });
}

// Names are as the user knows them; everything local is read before anything travels.
absl::StatusOr<v1::Source::Patched> ReadPatches(const std::vector<std::string>& files) {
  v1::Source::Patched patched;
  for (const std::string& file : files) {
    v1::Source::Patched::Patch* patch = patched.add_patches();
    patch->set_name(std::filesystem::path(file).filename().string());
    KDBG_ASSIGN_OR_RETURN(*patch->mutable_text(), ReadUserFile(file, kPatchBytes));
  }
  return patched;
}

}  // namespace

absl::StatusOr<v1::Source> ImportSource(Context& context, const SourceArgument& argument) {
  KDBG_ASSIGN_OR_RETURN(v1::Source::Patched patched, ReadPatches(argument.patches));
  Progress progress(context.output());
  auto source = Start(context, argument, progress);
  absl::Status status = source.status();
  if (status.ok() && source->state() == v1::Source::IMPORTING) {
    status = AwaitImport(context, argument, progress, *source);
  }
  if (IsInterrupted(status)) {
    progress.Clear();
    context.output().Note(
        source.ok() ? fmt::format("stopped watching: {} goes on importing", source->name())
                    : "stopped: the server keeps what it has for a day; the same "
                      "command goes on from there");
  }
  if (!status.ok()) return status;
  if (argument.patches.empty() || source->state() != v1::Source::READY) return source;
  progress.Update("patching", source->name());
  v1::Source wanted;
  patched.set_source(source->name());
  *wanted.mutable_patched() = std::move(patched);
  return Create(context, wanted);
}

std::string LineOfWorkOf(const SourceArgument& argument) {
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(argument.text, error);
  return is_directory ? LineOfWork(argument.text) : std::string();
}

absl::StatusOr<v1::Source> NewestSource(Context& context, const std::string& project) {
  KDBG_ASSIGN_OR_RETURN(const v1::ListSourcesResponse all,
                        context.ListAll<v1::SourceService>(&v1::SourceService::Stub::ListSources,
                                                           v1::ListSourcesRequest()));
  for (const v1::Source& source : all.sources()) {
    if (source.state() == v1::Source::READY && source.project() == project) return source;
  }
  return absl::NotFoundError(fmt::format("no {} source on the server yet", project));
}

}  // namespace kdbg::client
