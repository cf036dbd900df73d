// Room on the disk for what is built. A build that fills the disk hurts everybody: none is begun
// below the floor, and idle workspaces, which only save time, go before one is refused.
//
// Thread-safe; calls that make room wait for each other.
#pragma once

#include <cstdint>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace kdbg::source {
class Workspaces;
}  // namespace kdbg::source

namespace kdbg::build {

class DiskRoom {
 public:
  // `directory` is on the disk that is measured. `workspaces` must live longer than this.
  DiskRoom(source::Workspaces& workspaces, std::filesystem::path directory,
           std::int64_t floor_bytes);

  // RESOURCE_EXHAUSTED (kDiskFull), with what helps, when less than the floor is free.
  absl::Status Check() const;

  // The same, after it has deleted workspaces that nobody uses, as many as it takes.
  absl::Status Make();

 private:
  source::Workspaces& workspaces_;
  const std::filesystem::path directory_;
  const std::int64_t floor_bytes_;
  absl::Mutex mutex_;  // held while workspaces go
};

}  // namespace kdbg::build
