// What hangs together below git trees: every object, and how much a checkout of it would be.
//
// The same walk checks what a stranger sent (is it all there, does it stay within bounds?) and
// lists what an owner may read. Blocks for git. No state, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/source/archive_reader.h"
#include "server/source/git.h"
#include "server/source/object_id.h"

namespace kdbg::source {

// A checkout of one object, everything below included, as often as it appears.
struct Extent {
  std::int64_t bytes = 0;
  std::int64_t files = 0;
  std::int64_t largest_file = 0;
  std::int32_t longest_path = 0;  // bytes, below this object
  std::int16_t depth = 0;         // folders; a blob has none
  bool is_tree = false;
};

using Extents = absl::flat_hash_map<ObjectId, Extent>;

// Objects below `roots`, the roots included, that are not in `known`, which is not entered. Roots
// come in order until there are more than `max_objects`; the rest is left out.
//   FAILED_PRECONDITION  (kObjectsMissing) an object is neither in `git` nor in `known`
//   INVALID_ARGUMENT     (kTreeUnsafe) as ParseTree says, or an object is of another kind than its
//                        tree says; (kTreeTooLarge) deeper than `limits` or too big a tree object
//   CANCELLED            on `stop`
absl::StatusOr<Extents> WalkTrees(const Git& git, std::span<const ObjectId> roots,
                                  const Extents& known, const ArchiveLimits& limits,
                                  std::size_t max_objects, const std::stop_token& stop);

// Whether a tree of this extent may be checked out: INVALID_ARGUMENT (kTreeTooLarge).
absl::Status CheckExtent(const Extent& tree, const ArchiveLimits& limits);

}  // namespace kdbg::source
