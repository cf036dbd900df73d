// Room on the disk for copies of guests' memory, which may be made at the same time.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace kdbg::session {

class CopyRoom {
 public:
  // What is to be left on the disk.
  explicit CopyRoom(std::int64_t floor_bytes) : floor_bytes_(floor_bytes) {}

  // Room for what the hypervisor writes into `directory` and for the store's copy of it, until it
  // is let go of: by then the disk counts it. RESOURCE_EXHAUSTED (kDiskFull) when there is none:
  // QEMU tells only that it failed, after it has filled the disk.
  using Place = std::shared_ptr<const void>;
  std::int64_t floor_bytes() const { return floor_bytes_; }
  absl::StatusOr<Place> Take(const std::filesystem::path& directory, std::int64_t memory_mib);

 private:
  const std::int64_t floor_bytes_;
  absl::Mutex mutex_;
  std::int64_t taken_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kdbg::session
