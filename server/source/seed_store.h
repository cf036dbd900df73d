// Seeds: a work tree and the finished build directory of it, from which a new workspace starts
// instead of from nothing. Only builds of the service itself from trusted trees become seeds.
//
// On disk: <root>/<id>/{src,build,index}; the work tree shares its files with the workspaces it is
// planted in (git replaces files, and builds see them read-only), time stamps and all, so that make
// takes what was built for up to date. Thread-safe; calls block for the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/source/object_database.h"
#include "server/source/workspace.h"
#include "server/state/database.h"

namespace kdbg::source {

struct Seed {
  std::string id;   // "seed-k3v9x2qf"
  std::string key;  // of the configuration it was built with
  std::string tree;
  absl::Time create_time;
  absl::Time last_used_time;
};

class SeedStore {
 public:
  static std::span<const state::Migration> Migrations();
  // Removes what was cut off.
  static absl::StatusOr<std::unique_ptr<SeedStore>> Open(const std::filesystem::path& root,
                                                         state::Database& database,
                                                         const ObjectDatabase& objects,
                                                         const Clock& clock);

  // Takes the build directory out of a workspace, and a copy of its work tree. Replaces the seed of
  // the same key and tree.
  absl::Status Keep(std::string_view key, Workspaces::Lease& from, std::stop_token stop);

  // Lays the seed of `key` whose tree is nearest to `tree` into an empty workspace and returns that
  // seed's tree. NOT_FOUND when none is near enough to be worth it.
  absl::StatusOr<std::string> Plant(std::string_view key, std::string_view tree,
                                    Workspaces::Lease& into, std::stop_token stop);

  // Least recently used first.
  absl::StatusOr<std::vector<Seed>> List() const;
  // Idempotent; ABORTED (kHolderBusy) while it is being planted.
  absl::Status Delete(std::string_view id);

 private:
  SeedStore(std::filesystem::path root, state::Database& database, const ObjectDatabase& objects,
            const Clock& clock);
  absl::StatusOr<Seed> Nearest(std::string_view key, std::string_view tree) const;
  absl::Status RemoveLeftovers() const;
  // Counted while something reads it.
  class Use;

  const std::filesystem::path root_;
  state::Database& database_;
  const ObjectDatabase& objects_;
  const Clock& clock_;
  absl::Mutex mutex_;
  std::map<std::string, int, std::less<>> in_use_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::source
