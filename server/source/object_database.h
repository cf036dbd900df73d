// Every source as a git tree in one bare repository, through the git command line.
//
// Each tree that is kept has a ref (refs/kdbg/<id>), which is what keeps it from git's garbage
// collection. git runs with a clean environment: no system, user or work tree configuration, no
// hooks, no filters of a tree's own .gitattributes. Thread-safe; calls block for git.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "server/source/archive_reader.h"
#include "server/source/git.h"
#include "server/source/tree_reader.h"

namespace kdbg::source {

struct ImportProgress {
  std::int64_t files = 0;
  std::int64_t bytes = 0;  // uncompressed
};

struct ImportedTree {
  std::string tree;  // git object id
  ImportProgress total;
};

// Whether the index may speak for the files of a work tree, or each is looked at.
enum class WorkTreeTrust { kAsIndexed, kLookAtEveryFile };

class ObjectDatabase {
 public:
  // Makes the repository when it is not there; removes what an import that was cut off left.
  static absl::StatusOr<std::unique_ptr<ObjectDatabase>> Open(
      const std::filesystem::path& directory);

  // Streams an archive from `archive`'s current offset into a tree kept under `id`. Files never
  // touch the disk on their way. The reasons of archive_reader.h; CANCELLED on `stop`; on any
  // failure nothing is left. `on_progress` is called every few thousand files, on the calling
  // thread.
  absl::StatusOr<ImportedTree> ImportArchive(
      const UniqueFd& archive, std::string_view id, const ArchiveLimits& limits,
      const std::function<void(const ImportProgress&)>& on_progress, std::stop_token stop);

  // Keeps a tree that is already here under one more id; and lets it go. Forget is idempotent.
  absl::Status Keep(std::string_view id, std::string_view tree);
  absl::Status Forget(std::string_view id);
  // While one lives, nothing is collected: for who adds objects and keeps them afterwards.
  class Addition {
   public:
    explicit Addition(ObjectDatabase& objects);
    ~Addition();
    Addition(const Addition&) = delete;

   private:
    ObjectDatabase& objects_;
  };

  // git on the repository as it is.
  Git git() const { return Git(directory_); }

  // The ids trees are kept under.
  absl::StatusOr<std::vector<std::string>> Kept() const;
  bool Has(std::string_view tree) const;

  absl::StatusOr<TreeReader> OpenTree(std::string_view tree) const;
  // One file by a process of its own; for several use OpenTree.
  absl::StatusOr<std::string> ReadFile(std::string_view tree, std::string_view path,
                                       std::size_t max_bytes = std::size_t{16} << 20) const;

  // Paths of files that are not the same in both. NOT_FOUND when one of the trees is gone.
  absl::StatusOr<std::vector<std::string>> ChangedPaths(std::string_view from,
                                                        std::string_view to) const;

  // Makes `work_tree` the content of `tree`. Writes only files that differ, so those that do not
  // keep their time stamps. `index_file` belongs to the work tree and lies outside it.
  absl::Status Checkout(std::string_view tree, const std::filesystem::path& index_file,
                        const std::filesystem::path& work_tree, WorkTreeTrust trust,
                        std::stop_token stop) const;

  // Writes the files of `tree` that git's pathspecs name into `work_tree`, an empty directory or
  // one that an earlier call with the same `index_file` has written to.
  absl::Status CheckoutPart(std::string_view tree, const std::vector<std::string>& pathspecs,
                            const std::filesystem::path& index_file,
                            const std::filesystem::path& work_tree, std::stop_token stop) const;

  // Drops objects no kept tree needs and packs the others small, if anything came or went since it
  // last did. Long; checkouts may go on meanwhile, an import ends it. CANCELLED by either that or
  // `stop`, which lose nothing.
  absl::Status CollectGarbage(std::stop_token stop);

 private:
  explicit ObjectDatabase(std::filesystem::path directory);
  absl::Status Prepare();
  void RemoveLeftovers() const;
  absl::StatusOr<std::string> StripTop(const std::string& ref, const std::string& top) const;

  const std::filesystem::path directory_;
  // Held exclusively by the collection, shared by who adds.
  absl::Mutex addition_mutex_ ABSL_ACQUIRED_BEFORE(import_mutex_);
  // One import at a time, so that what a failed one leaves can be told from what a running one
  // needs.
  absl::Mutex import_mutex_;
  // Whether there may be something for CollectGarbage; what a daemon before us left is not known.
  std::atomic<bool> changed_{true};
  absl::Mutex collection_mutex_;
  std::stop_source collection_ ABSL_GUARDED_BY(collection_mutex_);
};

}  // namespace kdbg::source
