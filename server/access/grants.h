// Who else may read what its owner keeps private: named colleagues, one by one.
//
// Thread-safe. Looking costs a look into memory; changes block for the disk.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/state/database.h"

namespace kdbg::access {

class Grants {
 public:
  static std::span<const state::Migration> Migrations();
  static absl::StatusOr<std::unique_ptr<Grants>> Open(state::Database& database);

  // `resource` is a name, "builds/b-7". Both are idempotent.
  //   RESOURCE_EXHAUSTED  as many as may be can read it already
  absl::Status Grant(const std::string& resource, const std::string& user);
  absl::Status TakeBack(const std::string& resource, const std::string& user);
  // All of them, since the resource is gone.
  absl::Status Forget(const std::string& resource);

  bool Has(std::string_view resource, std::string_view user) const;
  std::vector<std::string> UsersOf(std::string_view resource) const;
  // Names of what this user was granted.
  std::vector<std::string> ResourcesOf(std::string_view user) const;

 private:
  explicit Grants(state::Database& database) : database_(database) {}

  state::Database& database_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::set<std::string, std::less<>>, std::less<>> users_
      ABSL_GUARDED_BY(mutex_);  // by resource, as on the disk
};

}  // namespace kdbg::access
