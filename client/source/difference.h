// What of a tree the other side lacks, and that as a pack.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/source/local_git.h"

namespace kdbg::client {

// Which of these object ids the other side has. A tree it has, it has with everything below.
using AskKnown =
    std::function<absl::StatusOr<std::set<std::string>>(const std::vector<std::string>& ids)>;

struct Difference {
  std::string recipe;  // what `git pack-objects` reads; the same for the same pack
  std::size_t objects = 0;
  // Objects on the other side that deltas of the pack may build on.
  std::vector<std::string> delta_bases;
  // Folders that are repositories of their own: their files are not part of the tree.
  std::vector<std::string> submodules;
};

// No objects at all when the other side has `tree`. `bases` are trees it may have, likeliest first;
// `git` has the objects of `tree`, perhaps of the bases. A tree that differs little from a base
// that the other side has takes one question; one it knows nothing of, one for each level of
// folders.
absl::StatusOr<Difference> FindDifference(const LocalGit& git, const std::string& tree,
                                          const std::vector<std::string>& bases,
                                          const AskKnown& ask);

// Writes the pack to `file`, which is complete or not there at all.
absl::Status WritePack(const LocalGit& git, const Difference& difference,
                       const std::filesystem::path& file);

}  // namespace kdbg::client
