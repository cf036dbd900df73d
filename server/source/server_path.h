// Files on the server that a caller names: only below folders the admin allows, and only what the
// caller's own uid may read.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::source {

struct ServerFile {
  std::filesystem::path path;  // canonical
  UniqueFd fd;                 // a regular file, open for reading
};

// `reader` absent: with the daemon's own rights. Rights are those of the mode bits and the groups
// of the user database; access control lists beyond them grant nothing.
//   INVALID_ARGUMENT   not an absolute path
//   PERMISSION_DENIED  (kPathNotAllowed) outside `allowed`, not a regular file, or not the reader's
//   to read NOT_FOUND          there is no such file
absl::StatusOr<ServerFile> OpenServerFile(const std::filesystem::path& path,
                                          std::span<const std::filesystem::path> allowed,
                                          std::optional<uid_t> reader);

}  // namespace kdbg::source
