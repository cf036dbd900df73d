#include "server/session/gdb_admission.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proto/contract/error.h"

namespace kdbg::session {

void GdbAdmission::Know(const SessionRecord& session) {
  std::set<uid_t> uids = {0, ::geteuid()};
  const auto add = [&](const std::string& user) {
    if (const auto uid = uid_of_(user)) uids.insert(*uid);
  };
  add(session.owner);
  for (const SessionShare& share : session.shares) {
    if (share.access == SessionShare::Access::kControl) add(share.user);
  }
  absl::MutexLock lock(&mutex_);
  id_ = session.id;
  owner_ = session.owner;
  uids_ = std::move(uids);
}

absl::Status GdbAdmission::Admit(const gdb::Attachment& client) const {
  using Origin = gdb::Attachment::Origin;
  if (client.origin == Origin::kAuthenticated) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  if (client.origin == Origin::kThisHost) {
    if (uids_.contains(client.uid)) return absl::OkStatus();
    return MakeError(
        absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
        fmt::format("{0} is {1}'s, who can let you in with kdbgctl session share {0}", id_, owner_),
        {{"user", fmt::format("uid:{}", client.uid)},
         {"verb", "control"},
         {"resource", "sessions/" + id_}});
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
