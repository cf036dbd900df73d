#include "server/service/convert_source.h"

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_common.h"
#include "server/source/git.h"
#include "server/store/blob_store.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kMaxTextBytes = 4096;
constexpr std::size_t kMaxCommitBytes = 256;
constexpr int kMaxObjectIds = 4096;
constexpr std::size_t kMaxInlinePackBytes = std::size_t{1} << 20;
constexpr int kMaxPatches = 256;
constexpr std::size_t kMaxPatchNameBytes = 256;
constexpr std::size_t kMaxPatchBytes = std::size_t{4} << 20;

v1::Source::State StateOf(source::SourceState state) {
  switch (state) {
    case source::SourceState::kImporting:
      return v1::Source::IMPORTING;
    case source::SourceState::kReady:
      return v1::Source::READY;
    case source::SourceState::kFailed:
      return v1::Source::FAILED;
  }
  return v1::Source::STATE_UNSPECIFIED;
}

v1::Failure::Fault FaultOf(source::SourceFault fault) {
  switch (fault) {
    case source::SourceFault::kSubject:
      return v1::Failure::FAULT_SUBJECT;
    case source::SourceFault::kCaller:
      return v1::Failure::FAULT_CALLER;
    case source::SourceFault::kHost:
      return v1::Failure::FAULT_HOST;
  }
  return v1::Failure::FAULT_UNSPECIFIED;
}

void SetOrigin(const source::SourceOrigin& origin, v1::Source* message) {
  const std::string text = ValidUtf8(origin.text);
  switch (origin.kind) {
    case source::OriginKind::kTarball:
      message->mutable_tarball()->set_sha256(origin.sha256);
      message->mutable_tarball()->set_file_name(text);
      return;
    case source::OriginKind::kServerPath:
      message->mutable_server_path()->set_path(text);
      return;
    case source::OriginKind::kGitPack:
      message->mutable_git_pack()->set_tree(origin.tree);
      message->mutable_git_pack()->set_commit(ValidUtf8(origin.ref));
      message->mutable_git_pack()->set_dirty(origin.dirty);
      message->mutable_git_pack()->set_directory(text);
      return;
    case source::OriginKind::kGitUrl:
      message->mutable_git_url()->set_url(text);
      message->mutable_git_url()->set_ref(ValidUtf8(origin.ref));
      message->mutable_git_url()->set_commit(origin.tree);
      return;
    case source::OriginKind::kTarballUrl:
      message->mutable_tarball_url()->set_url(text);
      message->mutable_tarball_url()->set_sha256(origin.sha256.empty() ? origin.ref
                                                                       : origin.sha256);
      return;
    case source::OriginKind::kPatched:
      message->mutable_patched()->set_source(ResourceName(kSources, origin.ref));
      for (const std::string& name : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
        message->mutable_patched()->add_patches()->set_name(name);
      }
      return;
  }
}

absl::StatusOr<std::string> UploadId(const std::string& name, std::string_view field) {
  if (name.empty()) return std::string();
  return ParseResourceName(kUploads, name, field);
}

absl::StatusOr<std::vector<source::Patch>> PatchesOf(const v1::Source::Patched& patched) {
  constexpr std::string_view kField = "source.patched.patches";
  if (patched.patches().empty() || patched.patches_size() > kMaxPatches) {
    return InvalidField(
        kField, std::to_string(patched.patches_size()),
        fmt::format("{}: give at least one patch and at most {}", kField, kMaxPatches));
  }
  std::vector<source::Patch> patches;
  std::size_t total = 0;
  for (const v1::Source::Patched::Patch& patch : patched.patches()) {
    KDBG_RETURN_IF_ERROR(
        CheckSize("source.patched.patches.name", patch.name().size(), kMaxPatchNameBytes));
    if (patch.name().find('\n') != std::string::npos) {
      return InvalidField("source.patched.patches.name", patch.name(), "a name is one line");
    }
    total += patch.text().size();
    patches.push_back(
        {.name = patch.name().empty() ? fmt::format("patch {}", patches.size() + 1) : patch.name(),
         .text = patch.text()});
  }
  KDBG_RETURN_IF_ERROR(CheckSize(kField, total, kMaxPatchBytes));
  return patches;
}

absl::StatusOr<source::SourceOrigin> OriginOf(const v1::Source& source) {
  source::SourceOrigin origin;
  switch (source.origin_case()) {
    case v1::Source::kTarball: {
      origin.kind = source::OriginKind::kTarball;
      origin.text = source.tarball().file_name();
      origin.sha256 = source.tarball().sha256();
      if (!store::IsDigest(origin.sha256)) {
        return InvalidField("source.tarball.sha256", origin.sha256,
                            "source.tarball.sha256 is required: 64 lower-case hex digits");
      }
      KDBG_ASSIGN_OR_RETURN(origin.upload,
                            UploadId(source.tarball().upload(), "source.tarball.upload"));
      break;
    }
    case v1::Source::kServerPath:
      origin.kind = source::OriginKind::kServerPath;
      origin.text = source.server_path().path();
      if (!std::filesystem::path(origin.text).is_absolute()) {
        return InvalidField("source.server_path.path", origin.text,
                            "source.server_path.path must be an absolute path on the server");
      }
      break;
    case v1::Source::kGitPack: {
      origin.kind = source::OriginKind::kGitPack;
      origin.text = source.git_pack().directory();
      origin.tree = source.git_pack().tree();
      origin.ref = source.git_pack().commit();
      origin.dirty = source.git_pack().dirty();
      if (!source::ObjectId::FromHex(origin.tree)) {
        return InvalidField("source.git_pack.tree", origin.tree,
                            "source.git_pack.tree is required: 40 lower-case hex digits");
      }
      KDBG_RETURN_IF_ERROR(CheckSize("source.git_pack.commit", origin.ref.size(), kMaxCommitBytes));
      KDBG_ASSIGN_OR_RETURN(origin.upload,
                            UploadId(source.git_pack().upload(), "source.git_pack.upload"));
      break;
    }
    case v1::Source::kGitUrl:
      origin.kind = source::OriginKind::kGitUrl;
      origin.text = source.git_url().url();
      origin.ref = source.git_url().ref();
      break;
    case v1::Source::kTarballUrl:
      origin.kind = source::OriginKind::kTarballUrl;
      origin.text = source.tarball_url().url();
      origin.ref = source.tarball_url().sha256();
      if (!origin.ref.empty() && !store::IsDigest(origin.ref)) {
        return InvalidField("source.tarball_url.sha256", origin.ref,
                            "sha256 is 64 lower-case hex digits");
      }
      break;
    case v1::Source::kPatched: {
      origin.kind = source::OriginKind::kPatched;
      KDBG_ASSIGN_OR_RETURN(origin.ref, ParseResourceName(kSources, source.patched().source(),
                                                          "source.patched.source"));
      break;
    }
    case v1::Source::ORIGIN_NOT_SET:
      return InvalidField("source.origin", "",
                          "source.origin is required: a tarball, a path on the server, ...");
  }
  KDBG_RETURN_IF_ERROR(CheckSize("source.origin", origin.text.size(), kMaxTextBytes));
  return origin;
}

}  // namespace

v1::Upload ToMessage(const source::Upload& upload) {
  v1::Upload message;
  message.set_name(ResourceName(kUploads, upload.id));
  message.set_sha256(upload.sha256);
  message.set_size_bytes(upload.size_bytes);
  message.set_received_bytes(upload.received_bytes);
  message.set_complete(upload.complete);
  return message;
}

v1::Source ToMessage(const source::SourceRecord& record) {
  v1::Source message;
  message.set_name(ResourceName(kSources, record.id));
  SetOrigin(record.origin, &message);
  message.set_state(StateOf(record.state));
  if (record.failure) {
    *message.mutable_failure() = MakeFailure(FaultOf(record.failure->fault), record.failure->reason,
                                             record.failure->message, "");
  }
  message.set_tree(record.tree);
  message.set_owner(record.owner);
  message.set_files_imported(record.files_imported);
  message.set_bytes_imported(record.bytes_imported);
  message.set_project(ValidUtf8(record.project));
  message.set_project_version(ValidUtf8(record.project_version));
  Set(record.create_time, message.mutable_create_time());
  if (record.ready_time) Set(*record.ready_time, message.mutable_ready_time());
  return message;
}

absl::StatusOr<std::vector<source::ObjectId>> ObjectIdsOf(
    const google::protobuf::RepeatedPtrField<std::string>& texts, std::string_view field) {
  if (texts.size() > kMaxObjectIds) {
    return InvalidField(field, std::to_string(texts.size()),
                        fmt::format("{} names {} objects; at most {} are taken in one call", field,
                                    texts.size(), kMaxObjectIds));
  }
  std::vector<source::ObjectId> ids;
  for (const std::string& text : texts) {
    if (!source::IsObjectId(text)) {
      return InvalidField(field, text, "a git object's id is 40 or 64 lower-case hex digits");
    }
    // Those of 64 are of another kind of repository: none of them is here.
    if (const auto id = source::ObjectId::FromHex(text)) ids.push_back(*id);
  }
  return ids;
}

absl::StatusOr<source::SourceRequest> RequestOf(const v1::CreateSourceRequest& request) {
  source::SourceRequest wanted;
  wanted.request_id = request.request_id();
  KDBG_ASSIGN_OR_RETURN(wanted.origin, OriginOf(request.source()));
  const v1::Source::GitPack& pack = request.source().git_pack();
  KDBG_RETURN_IF_ERROR(CheckSize("source.git_pack.pack", pack.pack().size(), kMaxInlinePackBytes));
  if (!pack.pack().empty() && !pack.upload().empty()) {
    return InvalidField("source.git_pack.pack", "", "give a pack or an upload, not both");
  }
  wanted.pack = pack.pack();
  KDBG_ASSIGN_OR_RETURN(wanted.delta_bases,
                        ObjectIdsOf(pack.delta_bases(), "source.git_pack.delta_bases"));
  if (wanted.origin.kind == source::OriginKind::kPatched) {
    KDBG_ASSIGN_OR_RETURN(wanted.patches, PatchesOf(request.source().patched()));
    for (const source::Patch& patch : wanted.patches) {
      wanted.origin.text += (wanted.origin.text.empty() ? "" : "\n") + patch.name;
    }
  }
  return wanted;
}

}  // namespace kdbg::service
