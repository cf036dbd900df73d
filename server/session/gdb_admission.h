// Who may attach gdb at a session's port. The port itself knows nobody: every user of this host can
// connect there, and other hosts where the configuration says so.
//
// Thread-safe.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/network.h"
#include "server/gdb/client_policy.h"
#include "server/session/session_record.h"

namespace kdbg::session {

class GdbAdmission {
 public:
  using UidOf = std::function<std::optional<uid_t>(const std::string& user)>;

  GdbAdmission(UidOf uid_of, std::vector<Network> peers)
      : uid_of_(std::move(uid_of)), peers_(std::move(peers)) {}

  // Whose session it is and with whom it is shared. Looks accounts up, which may block: Admit does
  // not.
  void Know(const SessionRecord& session);

  // PERMISSION_DENIED unless it is the owner, a colleague who may control the session, root, the
  // daemon's own user, a host that the configuration names, or a caller who has proved all that.
  absl::Status Admit(const gdb::Attachment& client) const;

  // Who it is that came to the port: a user, "uid:1234", or empty for another host.
  std::string UserOf(const gdb::Attachment& client) const;

 private:
  const UidOf uid_of_;
  const std::vector<Network> peers_;
  mutable absl::Mutex mutex_;
  std::string id_ ABSL_GUARDED_BY(mutex_);
  std::string owner_ ABSL_GUARDED_BY(mutex_);
  std::map<uid_t, std::string> users_ ABSL_GUARDED_BY(mutex_);  // who may
};

}  // namespace kdbg::session
