#include "server/build/disk_room.h"

#include <fmt/format.h>

#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/host/disk_space.h"
#include "server/source/workspace.h"
#include "server/source/workspace_budget.h"

namespace kdbg::build {

DiskRoom::DiskRoom(source::Workspaces& workspaces, std::filesystem::path directory,
                   std::int64_t floor_bytes)
    : workspaces_(workspaces), directory_(std::move(directory)), floor_bytes_(floor_bytes) {}

absl::Status DiskRoom::Check() const {
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(directory_));
  if (disk.free_bytes >= floor_bytes_) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
      fmt::format(
          "the server's disk has {} MiB left, and nothing new is begun below {} MiB: delete "
          "artifacts (kdbgctl artifact list, artifact rm) and sources (source rm), or ask "
          "an admin for a larger disk",
          disk.free_bytes >> 20, floor_bytes_ >> 20),
      {{"path", directory_.string()}}, absl::Minutes(5));
}

absl::Status DiskRoom::Make() {
  if (Check().ok()) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  // Who waited here finds the room that was made meanwhile.
  if (Check().ok()) return absl::OkStatus();
  // A half more, so that the next build does not come here again.
  KDBG_RETURN_IF_ERROR(source::MakeRoom(workspaces_, [this]() -> absl::StatusOr<bool> {
    KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(directory_));
    return disk.free_bytes >= floor_bytes_ + floor_bytes_ / 2;
  }));
  return Check();
}

}  // namespace kdbg::build
