// A directory as one git tree, taken without changing anything in it: a git work tree with
// everything that is staged, changed or new and not ignored; a plain directory with every file.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/source/content_check.h"
#include "client/source/directory_cache.h"
#include "client/source/local_git.h"

namespace kdbg::client {

struct Snapshot {
  LocalGit git;                // reads the objects of these trees
  std::string tree = {};       // 40 hex digits
  std::string head_tree = {};  // what is committed there; empty when nothing is
  std::string commit = {};     // HEAD, or what was asked for; empty when there is none
  bool dirty = false;          // other than that commit
  // Of the files of a work tree that are new in it: perhaps not meant to be sent.
  std::vector<LargeFile> large_files = {};
};

struct SnapshotRequest {
  std::filesystem::path directory;  // canonical
  // A branch, tag or commit of its repository: that commit's content instead of the files as they
  // are.
  std::string ref = {};
  Project project = {};  // what must be there
};

//   FAILED_PRECONDITION  not that project; a file no server takes; git's own words: unreadable
//                        files, a broken repository; nothing to send
//   INVALID_ARGUMENT     `ref` is none, or the directory has no repository
//   CANCELLED            on `stop`
absl::StatusOr<Snapshot> TakeSnapshot(const SnapshotRequest& request, const DirectoryCache& cache,
                                      const std::stop_token& stop);

}  // namespace kdbg::client
