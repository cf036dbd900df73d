// Opens files that a build left behind, so that no link, device or pipe it planted leads anywhere
// else. Stateless, any thread.
#pragma once

#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::host {

// For OpenBeneath and callers that walk: O_PATH|O_DIRECTORY of a directory the caller trusts.
absl::StatusOr<UniqueFd> OpenDirectory(const std::filesystem::path& path);

// `relative` below `directory_fd`, read-only. No component may be a symbolic link or lead above the
// directory, and the file must be a regular one; never blocks on a pipe. NOT_FOUND when it is not
// there, FAILED_PRECONDITION kOutputUnsafe for everything that is not a plain file.
absl::StatusOr<UniqueFd> OpenBeneath(int directory_fd, std::string_view relative);

}  // namespace kdbg::host
