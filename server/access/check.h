// Who may do what: the one pure decision every RPC goes through. No state, no I/O, any thread.
//
// An owner may do everything to what is theirs; an admin may do everything; a viewer only looks.
// Builds and artifacts that are not private are read and used by all, those that are by colleagues
// their owner named. Sessions are shared one by one. Sources and uploads are their owner's. What a
// caller may not even see answers NOT_FOUND, so that names of hidden things do not leak.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::access {

enum class Role { kNone, kViewer, kUser, kAdmin };  // each may do what the one before it may

struct Principal {
  std::string user;  // account name; "uid:1234" for a uid without one
  Role role = Role::kNone;
  std::optional<uid_t> uid;      // when the caller came over this host's own socket
  std::string certificate = {};  // its serial number, when they came by one
};

enum class Verb {
  kInform,       // what the server is and can do
  kEnroll,       // needs no identity: the code is the proof
  kRenew,        // one's own certificate
  kManageUsers,  // make such codes, revoke
  kCreate,
  kList,
  kSee,      // state and description
  kRead,     // contents: files, logs, console output
  kUse,      // as the input of something new
  kKeep,     // pin against garbage collection
  kControl,  // cancel, renew, pause, resume, write to the console, attach gdb
  kDelete,
  kShare,
  kTrust,  // make it everybody's
  kDrain,  // have the server take nothing new
};

enum class ResourceKind { kServer, kUpload, kSource, kBuild, kArtifact, kSession, kUser };

// What the owner granted this very caller.
enum class Sharing { kNone, kRead, kControl };

struct Resource {
  ResourceKind kind = ResourceKind::kServer;
  std::string name;   // for messages: "builds/b-7"; of a collection: "builds"
  std::string owner;  // empty for a collection and for the server
  bool is_private = false;
  Sharing shared = Sharing::kNone;
  std::string made_by = {};  // "builds/b-7" of an artifact: whoever was granted that may read this
};

// OK, or PERMISSION_DENIED (metadata user, verb, resource; the message says whom to ask), or
// NOT_FOUND.
absl::Status Check(const Principal& principal, Verb verb, const Resource& resource);

// Only whether the role is enough for the verb on some resource: what can be said before one is
// looked up.
absl::Status CheckRole(const Principal& principal, Verb verb, std::string_view what);

std::string_view RoleName(Role role);  // "none", "viewer", "user", "admin"
std::optional<Role> RoleFromName(std::string_view name);
std::string_view VerbName(Verb verb);  // "control"

}  // namespace kdbg::access
