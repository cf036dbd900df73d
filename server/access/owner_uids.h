// The uid that an owner's builds and guests run under: one of a configured range per owner, for
// good, so that a process that broke out of its sandbox or its QEMU reaches no other owner's files.
//
// Thread-safe; blocks for the disk at the first sight of an owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/host/identity.h"
#include "server/state/database.h"

namespace kdbg::access {

struct UidRange {
  std::int64_t first = 0;
  std::int64_t count = 0;  // 0: there is none; everything runs as the daemon's own user
};

class OwnerUids {
 public:
  static std::span<const state::Migration> Migrations();

  OwnerUids(state::Database& database, UidRange range) : database_(database), range_(range) {}

  // nullopt without a range. RESOURCE_EXHAUSTED when every uid of it has an owner.
  absl::StatusOr<std::optional<host::Identity>> For(std::string_view owner);

 private:
  absl::StatusOr<std::int64_t> FindOrAdd(std::string_view owner);

  state::Database& database_;
  const UidRange range_;
  absl::Mutex mutex_;
  std::map<std::string, uid_t, std::less<>> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::access
