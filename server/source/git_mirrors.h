// Repositories of others, as far as somebody here has asked for them: for each URL a bare one of
// our own, which fetches only what is new to it.
//
// What comes stays apart here until it is taken as a pack of one tree, which is looked at as any
// stranger's. Thread-safe; one URL is fetched by one at a time. Blocks for git and the network.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"
#include "server/source/download.h"
#include "server/source/git.h"

namespace kdbg::source {

class GitMirrors {
 public:
  // `rules.maximum_bytes` bounds one fetch.
  GitMirrors(std::filesystem::path root, RemoteRules rules)
      : root_(std::move(root)), rules_(std::move(rules)) {}

  // A commit without its history. Others wait with this URL while one lives.
  class Fetched {
   public:
    Fetched(Fetched&&) = default;
    const std::string& commit() const { return commit_; }
    const std::string& tree() const { return tree_; }
    // The tree that was taken from here the last time; empty: none.
    const std::string& last_tree() const { return last_tree_; }

    // The trees and blobs of tree() that `base` has not; "": all.
    absl::StatusOr<UniqueFd> Pack(const std::string& base, const std::stop_token& stop) const;
    // From now on this is last_tree().
    absl::Status NoteTaken(const std::stop_token& stop) const;

   private:
    friend class GitMirrors;
    Fetched(std::filesystem::path repository, std::shared_ptr<absl::Mutex> mutex);

    std::filesystem::path repository_;
    std::shared_ptr<absl::Mutex> mutex_;
    std::unique_ptr<absl::ReleasableMutexLock> lock_;
    std::string commit_;
    std::string tree_;
    std::string last_tree_;
  };
  // A branch, tag or commit. A repository on this host is read with the rights of `reader`; absent:
  // our own.
  //   INVALID_ARGUMENT     the URL or the ref is malformed
  //   NOT_FOUND            (kRefNotFound)
  //   PERMISSION_DENIED    (kUrlNotAllowed, kPathNotAllowed)
  //   FAILED_PRECONDITION  (kRemoteRefused) in git's words
  //   UNAVAILABLE          (kRemoteUnavailable)
  absl::StatusOr<Fetched> Fetch(const std::string& url, const std::string& ref,
                                std::optional<uid_t> reader, const std::stop_token& stop);

  // Those that nobody has fetched from since.
  absl::Status RemoveUnused(absl::Time since);

 private:
  std::shared_ptr<absl::Mutex> MutexOf(const std::string& name);

  const std::filesystem::path root_;
  const RemoteRules rules_;
  absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<absl::Mutex>> mutexes_ ABSL_GUARDED_BY(mutex_);
};

// Whether git may be asked for a ref of this name. Pure.
bool IsRefName(std::string_view ref);

}  // namespace kdbg::source
