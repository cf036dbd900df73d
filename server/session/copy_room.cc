#include "server/session/copy_room.h"

#include <cerrno>

#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/host/disk_space.h"

namespace kdbg::session {

absl::Status CheckRoom(const std::filesystem::path& directory, std::int64_t memory_mib) {
  constexpr std::int64_t kCopies = 2;
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(directory));
  if (disk.free_bytes > kCopies * (memory_mib << 20)) return absl::OkStatus();
  return DiskError(ENOSPC, "copy a guest's memory into", directory);
}

}  // namespace kdbg::session
