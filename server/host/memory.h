// How much memory the host has. Stateless, any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg::host {

struct HostMemory {
  std::int64_t total_bytes = 0;
  std::int64_t available_bytes = 0;  // without swapping
};

absl::StatusOr<HostMemory> ReadHostMemory();

// The text of /proc/meminfo.
absl::StatusOr<HostMemory> ParseMemInfo(std::string_view text);

}  // namespace kdbg::host
