#include "server/host/disk_space.h"

#include <sys/statvfs.h>

#include <cerrno>

#include "proto/support/errno_status.h"

namespace kdbg::host {

absl::StatusOr<DiskSpace> DiskSpaceOf(const std::filesystem::path& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) {
    return ErrnoError(errno, "read the free space of " + path.string());
  }
  const auto unit = static_cast<std::int64_t>(status.f_frsize);
  // Builds run as ordinary users: what is kept for root does not help them.
  const fsblkcnt_t free = status.f_bavail;
  return DiskSpace{.total_bytes = unit * static_cast<std::int64_t>(status.f_blocks),
                   .free_bytes = unit * static_cast<std::int64_t>(free)};
}

}  // namespace kdbg::host
