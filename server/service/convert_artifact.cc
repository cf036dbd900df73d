#include "server/service/convert_artifact.h"

#include "proto/contract/architecture.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/utf8.h"
#include "server/service/convert_common.h"

namespace kdbg::service {
namespace {

v1::Artifact::Kind KindOf(store::ArtifactKind kind) {
  switch (kind) {
    case store::ArtifactKind::kKernel:
      return v1::Artifact::KERNEL;
    case store::ArtifactKind::kInitramfs:
      return v1::Artifact::INITRAMFS;
    case store::ArtifactKind::kDump:
      return v1::Artifact::DUMP;
    case store::ArtifactKind::kSavedState:
      return v1::Artifact::SAVED_STATE;
  }
  return v1::Artifact::KIND_UNSPECIFIED;
}

}  // namespace

v1::Artifact ToMessage(const store::Artifact& artifact, const store::BlobStore& blobs) {
  v1::Artifact message;
  message.set_name(ResourceName(kArtifacts, artifact.id));
  message.set_kind(KindOf(artifact.kind));
  message.set_owner(artifact.owner);
  if (!artifact.build_id.empty()) message.set_build(ResourceName(kBuilds, artifact.build_id));
  if (!artifact.source_id.empty()) message.set_source(ResourceName(kSources, artifact.source_id));
  message.set_display_name(ValidUtf8(artifact.display_name));
  if (const auto* traits = FindArchitecture(artifact.architecture); traits != nullptr) {
    message.set_architecture(ToMessage(traits->architecture));
  }
  std::int64_t size = 0;
  for (const store::ArtifactFile& file : artifact.files) {
    v1::ArtifactFile* out = message.add_files();
    out->set_path(ValidUtf8(file.path));
    out->set_sha256(file.digest);
    out->set_size_bytes(file.size_bytes);
    out->set_build_id(file.gnu_build_id);
    out->set_server_path(ValidUtf8(blobs.PathOf(file.digest).native()));
    size += file.size_bytes;
  }
  message.set_size_bytes(size);
  message.set_build_id(artifact.gnu_build_id);
  message.set_version(ValidUtf8(artifact.version));
  for (const std::string& pin : artifact.pins) message.add_pins(pin);
  message.set_private_(artifact.is_private);
  Set(artifact.create_time, message.mutable_create_time());
  Set(artifact.last_used_time, message.mutable_last_used_time());
  return message;
}

}  // namespace kdbg::service
