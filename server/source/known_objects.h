// What each owner may read, object by object: everything below the trees of their READY sources.
// It is all that is ever said to be "here", and all that what they send may build on.
//
// Thread-safe. The lists are made when first asked for (half a second for a tree of Linux), kept
// up with the sources, and forgotten, least recently used owner first, when they get many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/source/archive_reader.h"
#include "server/source/object_database.h"
#include "server/source/object_id.h"
#include "server/source/tree_walk.h"
#include "server/state/database.h"

namespace kdbg::source {

class KnownObjects {
 public:
  struct Limits {
    std::size_t of_one_owner = 600'000;  // a tree of Linux has 84,000; newest sources first
    std::size_t of_all_owners = 3'000'000;
  };

  KnownObjects(state::Database& database, const ObjectDatabase& objects,
               const ArchiveLimits& archive_limits, const Limits& limits);
  ~KnownObjects();

  // Runs `use` with what `owner` may read now. Nobody else does so for this owner meanwhile.
  absl::Status With(std::string_view owner, absl::FunctionRef<absl::Status(const Extents&)> use);

  // Those of `ids` that `owner` may read, in the same order.
  absl::StatusOr<std::vector<ObjectId>> Filter(std::string_view owner,
                                               std::span<const ObjectId> ids);

 private:
  struct List {
    absl::Mutex mutex;
    std::set<std::string> trees ABSL_GUARDED_BY(mutex);  // that went into it, or had no room
    Extents objects ABSL_GUARDED_BY(mutex);
  };
  struct Place {
    std::shared_ptr<List> list;
    std::size_t size = 0;
    std::uint64_t last_use = 0;
  };

  absl::Status Refresh(std::string_view owner, List& list)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(list.mutex);
  absl::Status Extend(std::span<const ObjectId> trees, List& list)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(list.mutex);
  std::shared_ptr<List> Take(std::string_view owner);
  void NoteSize(std::string_view owner, std::size_t size);

  state::Database& database_;
  const ObjectDatabase& objects_;
  const ArchiveLimits archive_limits_;
  const Limits limits_;
  absl::Mutex mutex_;
  std::uint64_t uses_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Place, std::less<>> places_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::source
