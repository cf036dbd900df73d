#include "server/session/gdb_admission.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proto/contract/error.h"

namespace kdbg::session {
namespace {

std::string NameOf(uid_t uid) { return fmt::format("uid:{}", uid); }

}  // namespace

void GdbAdmission::Know(const SessionRecord& session) {
  std::map<uid_t, std::string> users = {{0, "root"}};
  const auto add = [&](const std::string& user) {
    if (const auto uid = uid_of_(user)) users.emplace(*uid, user);
  };
  add(session.owner);
  for (const SessionShare& share : session.shares) {
    if (share.access == SessionShare::Access::kControl) add(share.user);
  }
  users.emplace(::geteuid(), NameOf(::geteuid()));
  absl::MutexLock lock(&mutex_);
  id_ = session.id;
  owner_ = session.owner;
  users_ = std::move(users);
}

std::string GdbAdmission::UserOf(const gdb::Attachment& client) const {
  if (client.origin != gdb::Attachment::Origin::kThisHost) return "";
  absl::MutexLock lock(&mutex_);
  const auto found = users_.find(client.uid);
  return found != users_.end() ? found->second : NameOf(client.uid);
}

absl::Status GdbAdmission::Admit(const gdb::Attachment& client) const {
  using Origin = gdb::Attachment::Origin;
  if (client.origin == Origin::kAuthenticated) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  if (client.origin == Origin::kThisHost) {
    if (users_.contains(client.uid)) return absl::OkStatus();
    return MakeError(
        absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
        fmt::format("{0} is {1}'s, who can let you in with kdbgctl session share {0}", id_, owner_),
        {{"user", NameOf(client.uid)}, {"verb", "control"}, {"resource", "sessions/" + id_}});
  }
  const bool named = std::any_of(peers_.begin(), peers_.end(), [&](const Network& network) {
    return network.Contains(client.address);
  });
  if (named) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
      fmt::format("this port is not for other hosts: use target remote | kdbgctl "
                  "gdb-pipe {}",
                  id_),
      {{"user", client.address}, {"verb", "control"}, {"resource", "sessions/" + id_}});
}

}  // namespace kdbg::session
