#include "server/source/origin_check.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/source/git_mirrors.h"
#include "server/source/object_id.h"
#include "server/source/remote_url.h"
#include "server/source/server_path.h"
#include "server/source/source_importer.h"
#include "server/source/source_records.h"
#include "server/store/blob_store.h"

namespace kdbg::source {

using state::Transaction;

absl::StatusOr<IncomingSource> OriginCheck::Check(const SourceRequest& request) const {
  switch (request.origin.kind) {
    case OriginKind::kTarball:
      return CheckTarball(request.owner, request.origin);
    case OriginKind::kServerPath:
      return CheckServerPath(request.origin, request.reader);
    case OriginKind::kGitPack:
      return CheckGitPack(request.owner, request.origin);
    case OriginKind::kPatched:
      return CheckPatched(request);
    case OriginKind::kGitUrl:
    case OriginKind::kTarballUrl:
      return CheckUrl(request.origin);
  }
  return absl::InternalError("an origin of no known kind");
}

absl::StatusOr<IncomingSource> OriginCheck::CheckUrl(const SourceOrigin& origin) const {
  const bool is_git = origin.kind == OriginKind::kGitUrl;
  const std::string_view field = is_git ? "git_url.url" : "tarball_url.url";
  KDBG_ASSIGN_OR_RETURN(const RemoteUrl url, CheckRemoteUrl(field, origin.text, allowed_urls_));
  if (!is_git && url.scheme != "https") {
    return InvalidField(field, origin.text, "a tarball is downloaded by https only");
  }
  if (is_git && !IsRefName(origin.ref)) {
    return InvalidField("git_url.ref", origin.ref, "name a branch, a tag or a whole commit id");
  }
  IncomingSource incoming;
  incoming.origin = origin;
  incoming.origin.text = url.text;
  incoming.has_bytes = true;  // the import finds out
  return incoming;
}

absl::StatusOr<IncomingSource> OriginCheck::CheckTarball(std::string_view owner,
                                                         const SourceOrigin& origin) const {
  IncomingSource incoming;
  incoming.origin = origin;
  if (!origin.upload.empty()) {
    KDBG_ASSIGN_OR_RETURN(const Upload upload, uploads_.Get(origin.upload));
    if (upload.owner != owner) return ResourceNotFound(ResourceName(kUploads, origin.upload));
    if (incoming.origin.sha256.empty()) incoming.origin.sha256 = upload.sha256;
    if (incoming.origin.sha256 != upload.sha256) {
      return InvalidField("tarball.sha256", origin.sha256,
                          "the upload was announced with another digest");
    }
    incoming.has_bytes = upload.complete;
  }
  if (!store::IsDigest(incoming.origin.sha256)) {
    return InvalidField("tarball.sha256", origin.sha256, "sha256 must be 64 lower-case hex digits");
  }
  return incoming;
}

absl::StatusOr<IncomingSource> OriginCheck::CheckServerPath(const SourceOrigin& origin,
                                                            std::optional<uid_t> reader) const {
  KDBG_ASSIGN_OR_RETURN(ServerFile file, OpenServerFile(origin.text, allowed_paths_, reader));
  KDBG_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(file.fd));
  IncomingSource incoming;
  incoming.origin.kind = OriginKind::kServerPath;
  incoming.origin.text = file.path.string();
  incoming.has_bytes = true;
  incoming.fd = std::move(file.fd);
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(incoming.origin.sha256, SourceRecords::KnownDigest(transaction, stamp));
    return absl::OkStatus();
  }));
  return incoming;
}

absl::StatusOr<IncomingSource> OriginCheck::CheckGitPack(std::string_view owner,
                                                         const SourceOrigin& origin) const {
  if (!ObjectId::FromHex(origin.tree)) {
    return InvalidField("git_pack.tree", origin.tree, "a tree's id is 40 lower-case hex digits");
  }
  IncomingSource incoming;
  incoming.origin = origin;
  if (!origin.upload.empty()) {
    KDBG_ASSIGN_OR_RETURN(const Upload upload, uploads_.Get(origin.upload));
    if (upload.owner != owner) return ResourceNotFound(ResourceName(kUploads, origin.upload));
    incoming.has_bytes = upload.complete;
  }
  return incoming;
}

absl::StatusOr<IncomingSource> OriginCheck::CheckPatched(const SourceRequest& request) const {
  std::optional<SourceRow> base;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(base, SourceRecords::Find(transaction, request.origin.ref));
    return absl::OkStatus();
  }));
  const std::string name = ResourceName(kSources, request.origin.ref);
  if (!base) return ResourceNotFound(name);
  if (base->record.state != SourceState::kReady) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     name + " is not READY: wait until it is imported, then patch it",
                     {{"resource", name}});
  }
  IncomingSource incoming;
  incoming.origin = request.origin;
  incoming.origin.tree = base->record.tree;
  Sha256 content;
  content.Update(base->record.tree);
  for (const Patch& patch : request.patches) {
    content.Update(fmt::format(" {} ", patch.text.size()));
    content.Update(patch.text);
  }
  incoming.origin.sha256 = content.FinishHex();
  return incoming;
}

}  // namespace kdbg::source
