#include "server/service/resources.h"

#include "proto/contract/resource_name.h"

namespace kdbg::service {
namespace {

access::Resource Make(access::ResourceKind kind, std::string_view collection, const std::string& id,
                      const std::string& owner) {
  access::Resource resource;
  resource.kind = kind;
  resource.name = ResourceName(collection, id);
  resource.owner = owner;
  return resource;
}

}  // namespace

access::Resource ResourceOf(const source::Upload& upload) {
  return Make(access::ResourceKind::kUpload, kUploads, upload.id, upload.owner);
}

access::Resource ResourceOf(const source::SourceRecord& record) {
  return Make(access::ResourceKind::kSource, kSources, record.id, record.owner);
}

access::Resource ResourceOf(const build::BuildRecord& record) {
  access::Resource resource = Make(access::ResourceKind::kBuild, kBuilds, record.id, record.owner);
  resource.is_private = record.request.is_private;
  return resource;
}

access::Resource ResourceOf(const store::Artifact& artifact) {
  access::Resource resource =
      Make(access::ResourceKind::kArtifact, kArtifacts, artifact.id, artifact.owner);
  resource.is_private = artifact.is_private;
  // What a build may be read for; what a guest of it had in memory is its owner's.
  const bool made = artifact.kind == store::ArtifactKind::kKernel ||
                    artifact.kind == store::ArtifactKind::kInitramfs;
  if (made) resource.made_by = ResourceName(kBuilds, artifact.build_id);
  return resource;
}

access::Resource ResourceOf(const session::SessionRecord& record, std::string_view user) {
  access::Resource resource =
      Make(access::ResourceKind::kSession, kSessions, record.id, record.owner);
  for (const session::SessionShare& share : record.shares) {
    if (share.user != user) continue;
    resource.shared = share.access == session::SessionShare::Access::kControl
                          ? access::Sharing::kControl
                          : access::Sharing::kRead;
  }
  return resource;
}

std::vector<std::string> GrantedIds(const access::Grants& grants, std::string_view user,
                                    std::string_view collection) {
  std::vector<std::string> ids;
  for (const std::string& name : grants.ResourcesOf(user)) {
    if (auto id = ParseResourceName(collection, name); id.ok()) ids.push_back(*std::move(id));
  }
  return ids;
}

}  // namespace kdbg::service
