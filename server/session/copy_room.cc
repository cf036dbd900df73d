#include "server/session/copy_room.h"

#include <cerrno>

#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/host/disk_space.h"

namespace kdbg::session {

absl::StatusOr<CopyRoom::Place> CopyRoom::Take(const std::filesystem::path& directory,
                                               std::int64_t memory_mib) {
  constexpr std::int64_t kCopies = 2;
  const std::int64_t bytes = kCopies * (memory_mib << 20);
  absl::MutexLock lock(&mutex_);
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(directory));
  if (disk.free_bytes < taken_bytes_ + bytes + floor_bytes_) {
    return DiskError(ENOSPC, "copy a guest's memory into", directory);
  }
  taken_bytes_ += bytes;
  return Place(this, [this, bytes](const void*) {
    absl::MutexLock leave_lock(&mutex_);
    taken_bytes_ -= bytes;
  });
}

}  // namespace kdbg::session
