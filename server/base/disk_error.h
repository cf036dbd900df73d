// errno of a file operation in the state directory, with the reason that a full disk deserves.
#pragma once

#include <filesystem>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg {

// Like ErrnoError("<action> <path>"), but ENOSPC and EDQUOT carry kDiskFull and what to do about
// it.
absl::Status DiskError(int error_number, std::string_view action,
                       const std::filesystem::path& path);

// The same for a status that came out of proto/support: a bare RESOURCE_EXHAUSTED becomes
// kDiskFull.
absl::Status WithDiskReason(absl::Status status, const std::filesystem::path& path);

// With all that is in it; nothing there is fine.
absl::Status RemoveTree(const std::filesystem::path& path);

}  // namespace kdbg
