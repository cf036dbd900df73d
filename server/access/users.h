// From a uid on the server's own socket to a Principal: account name, role by configuration. Looks
// accounts up through NSS, which may block on a directory server, so answers are kept for a minute.
// Any thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/access/check.h"
#include "server/base/clock.h"
#include "server/config/config.h"

namespace kdbg::access {

// From the configuration. A user's own entry wins over groups; among groups the highest role.
struct AccessPolicy {
  std::map<std::string, Role> users;   // by account name, or "uid:1234"
  std::map<std::string, Role> groups;  // by group name
  Role others = Role::kUser;           // everybody else who reaches the socket
};

AccessPolicy PolicyFrom(const config::Access& access);

struct Account {
  std::string name;
  std::vector<std::string> groups;
};

// The accounts of this host, behind a seam for tests.
class Accounts {
 public:
  virtual ~Accounts() = default;
  virtual std::optional<Account> Find(uid_t uid) const = 0;
  virtual std::optional<uid_t> UidOf(const std::string& name) const = 0;
};

class SystemAccounts final : public Accounts {
 public:
  std::optional<Account> Find(uid_t uid) const override;
  std::optional<uid_t> UidOf(const std::string& name) const override;
};

class Users {
 public:
  // root and `own_uid` (the daemon's) are admins whatever the policy says.
  Users(AccessPolicy policy, const Accounts& accounts, const Clock& clock, uid_t own_uid);

  // Holds from the next FromUid on.
  void SetPolicy(AccessPolicy policy);

  Principal FromUid(uid_t uid);
  // Whether somebody could come as `user`: an account of this host, or "uid:1234".
  bool CouldBe(const std::string& user) const { return UidOf(user).has_value(); }
  std::optional<uid_t> UidOf(const std::string& user) const;

 private:
  struct Known {
    Principal principal;
    absl::Duration until;
  };
  Principal LookUp(const AccessPolicy& policy, uid_t uid) const;

  const Accounts& accounts_;
  const Clock& clock_;
  const uid_t own_uid_;
  absl::Mutex mutex_;
  std::shared_ptr<const AccessPolicy> policy_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<uid_t, Known> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::access
