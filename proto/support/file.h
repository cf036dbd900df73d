// Whole small files: bounded reads, writes that are there completely or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kdbg {

inline constexpr std::size_t kSmallFileLimit = std::size_t{16} << 20;

// The whole file; RESOURCE_EXHAUSTED when it is longer than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path,
                                     std::size_t max_bytes = kSmallFileLimit);

// Writes a temporary sibling, syncs it and renames it over `path`. `mode` is not cut by the umask.
absl::Status WriteFileAtomic(const std::filesystem::path& path, std::string_view content,
                             int mode = 0644);

// All of `data` to `fd`, continuing after short writes and EINTR.
absl::Status WriteAll(int fd, std::string_view data);

// mkdir -p, then the exact mode on the last component.
absl::Status MakeDirectories(const std::filesystem::path& path, int mode);

}  // namespace kdbg
