// Workspaces: one line of work of one owner, as a work tree and a build directory that persist, so
// that a small change rebuilds little. A lease gives one build at a time the use of one.
//
// On disk: <root>/<id>/{src,build,index}, <root>/ccache/<owner> and <root>/ccache/trusted. The
// folders above are 0700; the sandbox reaches them through descriptors. Thread-safe; Checkout
// blocks for git.
#pragma once

#include <filesystem>
#include <functional>
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
#include "server/state/database.h"

namespace kdbg::source {

struct WorkspaceRecord {
  std::string id;  // "w-" and 16 hex digits, made of owner and name
  std::string owner;
  std::string name;
  std::string tree;  // what src holds; empty when nothing, or a checkout was cut off
  absl::Time create_time;
  absl::Time last_used_time;
};

class Workspaces {
 public:
  // Exclusive use of a workspace until destroyed.
  class Lease {
   public:
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease();

    const std::string& id() const { return id_; }
    std::filesystem::path source_dir() const;
    // May come to belong to the uid builds run under.
    std::filesystem::path build_dir() const;
    std::filesystem::path ccache_dir() const;
    // What source_dir holds; empty when nothing, or a checkout was cut off.
    absl::StatusOr<std::string> tree() const;

    // Makes source_dir the content of `tree`; files that do not differ are not touched.
    absl::Status Checkout(std::string_view tree, std::stop_token stop = {});
    // Empties build_dir.
    absl::Status ClearBuild();

    // Moves build_dir to `to`/build, leaving an empty one, and lays a copy of the work tree and its
    // index beside it: files are shared, time stamps kept.
    absl::Status Harvest(const std::filesystem::path& to, std::stop_token stop = {});
    // The reverse, by copies, in place of all this workspace holds. `tree` is what `from`/src is.
    absl::Status Plant(const std::filesystem::path& from, std::string_view tree,
                       std::stop_token stop = {});

   private:
    friend class Workspaces;
    Lease(Workspaces* workspaces, std::string id, std::string owner);
    Workspaces* workspaces_;
    std::string id_;
    std::string owner_;
  };

  // Removes a directory tree, whoever owns what is in it; the runner knows how when builds have
  // their own uid.
  using RemoveTree = std::function<absl::Status(const std::filesystem::path&)>;

  static std::span<const state::Migration> Migrations();
  // `remove_tree` absent: with the daemon's own rights.
  static absl::StatusOr<std::unique_ptr<Workspaces>> Open(const std::filesystem::path& root,
                                                          state::Database& database,
                                                          ObjectDatabase& objects,
                                                          const Clock& clock,
                                                          RemoveTree remove_tree = nullptr);

  // The compiler cache of an owner, which all its builds share; there once it has had a lease.
  std::filesystem::path CcacheDir(std::string_view owner) const;

  // The id that Acquire gives to this name.
  static std::string IdOf(std::string_view owner, std::string_view name);

  // Makes the workspace when it is not there; waits while it is deleted. ABORTED (kHolderBusy)
  // while another lease is held: who waits, and in which order, is the caller's queue.
  absl::StatusOr<Lease> Acquire(std::string_view owner, std::string_view name);

  // The cache that all builds read and only those of the service, from trusted trees, write.
  std::filesystem::path trusted_ccache_dir() const;
  // Empties that cache; builds that run go on without.
  absl::Status ClearTrustedCcache();

  // Least recently used first.
  absl::StatusOr<std::vector<WorkspaceRecord>> List(std::optional<std::string> owner) const;
  // Idempotent; ABORTED (kHolderBusy) while leased.
  absl::Status Delete(std::string_view id);
  std::filesystem::path DirectoryOf(std::string_view id) const { return root_ / id; }
  // Idempotent; ABORTED (kHolderBusy) while a workspace of this owner is leased.
  absl::Status DeleteCcache(std::string_view owner);

 private:
  Workspaces(std::filesystem::path root, state::Database& database, ObjectDatabase& objects,
             const Clock& clock, RemoveTree remove_tree);
  void Release(const std::string& id);
  struct Content {
    std::string tree;
    std::string boot_id;  // of the run of the kernel that wrote it
  };
  absl::StatusOr<Content> ContentOf(std::string_view id) const;
  absl::Status SetTree(std::string_view id, std::string_view tree);

  const std::filesystem::path root_;
  state::Database& database_;
  ObjectDatabase& objects_;
  const Clock& clock_;
  const RemoveTree remove_tree_;
  const std::string boot_id_;
  absl::Mutex mutex_;
  std::map<std::string, std::string, std::less<>> leased_ ABSL_GUARDED_BY(mutex_);  // its owner
};

}  // namespace kdbg::source
