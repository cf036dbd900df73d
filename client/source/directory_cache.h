// What this machine keeps for a directory it sends, below $XDG_CACHE_HOME/kdbg: git objects of what
// was sent last, so that the next difference is small, and packs on their way. Losing it costs
// time, nothing else.
//
// Several kdbgctl may use one at the same time.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {

class DirectoryCache {
 public:
  // Of `directory`, which is canonical. Empties it first when it has grown beyond
  // `max_object_bytes` and nobody else is using it.
  static absl::StatusOr<DirectoryCache> Open(const std::filesystem::path& cache_root,
                                             const std::filesystem::path& directory,
                                             std::int64_t max_object_bytes);

  // Where git may put objects of this directory.
  std::filesystem::path objects() const { return root_ / "objects"; }
  // A repository for a directory that has none.
  std::filesystem::path repository() const { return root_ / "repository"; }
  // A file name nobody else has, in a folder that exists.
  std::filesystem::path Scratch(std::string_view name) const;
  // The pack that is made of this recipe; once it exists, it is complete.
  std::filesystem::path PackOf(std::string_view recipe) const;

  // While it lives, nobody else changes repository().
  absl::StatusOr<UniqueFd> LockRepository() const;

  // The tree that this server took last; empty when there is none.
  std::string LastSent(std::string_view server) const;
  // Packs are gone then, unless somebody else is using the cache.
  absl::Status NoteSent(std::string_view server, std::string_view tree) const;

 private:
  DirectoryCache(std::filesystem::path root, UniqueFd use)
      : root_(std::move(root)), use_(std::move(use)) {}
  std::filesystem::path SentFile(std::string_view server) const;

  std::filesystem::path root_;
  UniqueFd use_;  // holds a shared lock
};

}  // namespace kdbg::client
