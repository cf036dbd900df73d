// How much room a file system has. Stateless, any thread.
#pragma once

#include <cstdint>
#include <filesystem>

#include "absl/status/statusor.h"

namespace kdbg::host {

struct DiskSpace {
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes =
      0;  // for this process: without what is reserved for root, unless we are root
};

// Of the file system that holds `path`, which must exist.
absl::StatusOr<DiskSpace> DiskSpaceOf(const std::filesystem::path& path);

}  // namespace kdbg::host
