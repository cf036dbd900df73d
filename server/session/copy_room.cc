#include "server/session/copy_room.h"

#include <fmt/format.h>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/host/disk_space.h"

namespace kdbg::session {

absl::StatusOr<CopyRoom::Place> CopyRoom::Take(const std::filesystem::path& directory,
                                               std::int64_t memory_mib) {
  constexpr std::int64_t kCopies = 2;
  const std::int64_t bytes = kCopies * (memory_mib << 20);
  absl::MutexLock lock(&mutex_);
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(directory));
  if (disk.free_bytes < taken_bytes_ + bytes + floor_bytes_) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
        fmt::format("a copy of this guest's memory takes up to {} MiB, and of the {} MiB that the "
                    "server's disk has left {} are taken by copies under way and {} are not given "
                    "away: try again later, or free space (kdbgctl artifact list, artifact rm)",
                    bytes >> 20, disk.free_bytes >> 20, taken_bytes_ >> 20, floor_bytes_ >> 20),
        {{"path", directory.string()}}, absl::Minutes(1));
  }
  taken_bytes_ += bytes;
  return Place(this, [this, bytes](const void*) {
    absl::MutexLock leave_lock(&mutex_);
    taken_bytes_ -= bytes;
  });
}

}  // namespace kdbg::session
