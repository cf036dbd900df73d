// Room for a copy of a guest's memory.
#pragma once

#include <cstdint>
#include <filesystem>

#include "absl/status/status.h"

namespace kdbg::session {

// Whether what the hypervisor writes into `directory`, and the store's copy of it, fit:
// RESOURCE_EXHAUSTED (kDiskFull) when not. QEMU tells only that it failed, after it has filled the
// disk.
absl::Status CheckRoom(const std::filesystem::path& directory, std::int64_t memory_mib);

}  // namespace kdbg::session
