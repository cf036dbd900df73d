#include "server/access/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "proto/contract/error.h"

namespace kdbg::access {
namespace {

constexpr std::string_view kRoleNames[] = {"none", "viewer", "user", "admin"};
constexpr std::string_view kVerbNames[] = {"inform",  "enroll", "renew", "manage", "create",
                                           "list",    "see",    "read",  "use",    "keep",
                                           "control", "delete", "share", "trust",  "drain"};
static_assert(std::size(kVerbNames) == static_cast<std::size_t>(Verb::kDrain) + 1);

// How close the caller stands to one resource.
enum class Relation { kStranger, kReader, kController, kOwner };

Relation RelationTo(const Principal& principal, const Resource& resource) {
  if (!principal.user.empty() && resource.owner == principal.user) return Relation::kOwner;
  switch (resource.kind) {
    case ResourceKind::kBuild:
    case ResourceKind::kArtifact:
      return resource.is_private && resource.shared == Sharing::kNone ? Relation::kStranger
                                                                      : Relation::kReader;
    case ResourceKind::kSession:
      if (resource.shared == Sharing::kControl) return Relation::kController;
      return resource.shared == Sharing::kRead ? Relation::kReader : Relation::kStranger;
    case ResourceKind::kServer:
    case ResourceKind::kUser:
    case ResourceKind::kUpload:
    case ResourceKind::kSource:
      return Relation::kStranger;
  }
  return Relation::kStranger;
}

struct Need {
  Role role;
  Relation relation;  // kStranger: any
};

Need NeedOf(Verb verb) {
  switch (verb) {
    case Verb::kInform:
    case Verb::kRenew:
    case Verb::kList:
      return {Role::kViewer, Relation::kStranger};
    case Verb::kEnroll:
      return {Role::kNone, Relation::kStranger};
    case Verb::kManageUsers:
    case Verb::kTrust:
    case Verb::kDrain:
      return {Role::kAdmin, Relation::kStranger};
    case Verb::kCreate:
      return {Role::kUser, Relation::kStranger};
    case Verb::kSee:
    case Verb::kRead:
      return {Role::kViewer, Relation::kReader};
    case Verb::kUse:
    case Verb::kKeep:
      return {Role::kUser, Relation::kReader};
    case Verb::kControl:
      return {Role::kUser, Relation::kController};
    case Verb::kDelete:
    case Verb::kShare:
      return {Role::kUser, Relation::kOwner};
  }
  return {Role::kAdmin, Relation::kOwner};
}

absl::Status Denied(const Principal& principal, Verb verb, const Resource& resource,
                    std::string_view whom_to_ask) {
  return MakeError(absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
                   fmt::format("{} (role {}) may not {} {}: ask {}",
                               principal.user.empty() ? "an unknown user" : principal.user,
                               RoleName(principal.role), VerbName(verb),
                               resource.name.empty() ? "this server" : resource.name, whom_to_ask),
                   {{"user", principal.user},
                    {"verb", std::string(VerbName(verb))},
                    {"resource", resource.name}});
}

}  // namespace

absl::Status Check(const Principal& principal, Verb verb, const Resource& resource) {
  const Need need = NeedOf(verb);
  if (need.role == Role::kNone) return absl::OkStatus();
  if (principal.role == Role::kNone)
    return Denied(principal, verb, resource, "an admin for a role");
  if (principal.role == Role::kAdmin) return absl::OkStatus();
  if (need.relation != Relation::kStranger) {
    const Relation relation = RelationTo(principal, resource);
    if (relation == Relation::kStranger) return ResourceNotFound(resource.name);
    if (relation < need.relation) {
      return Denied(principal, verb, resource, fmt::format("{} or an admin", resource.owner));
    }
  }
  if (principal.role < need.role) return Denied(principal, verb, resource, "an admin");
  return absl::OkStatus();
}

absl::Status CheckRole(const Principal& principal, Verb verb, std::string_view what) {
  if (principal.role >= NeedOf(verb).role) return absl::OkStatus();
  Resource resource;
  resource.name = what;
  return Denied(principal, verb, resource,
                principal.role == Role::kNone ? "an admin for a role" : "an admin");
}

std::string_view RoleName(Role role) { return kRoleNames[static_cast<std::size_t>(role)]; }

std::optional<Role> RoleFromName(std::string_view name) {
  const auto* found = std::find(std::begin(kRoleNames), std::end(kRoleNames), name);
  if (found == std::end(kRoleNames)) return std::nullopt;
  return static_cast<Role>(found - std::begin(kRoleNames));
}

std::string_view VerbName(Verb verb) { return kVerbNames[static_cast<std::size_t>(verb)]; }

}  // namespace kdbg::access
