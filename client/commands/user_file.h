// Files that the user names.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace kdbg::client {

// The whole of it. NOT_FOUND names the file.
absl::StatusOr<std::string> ReadUserFile(const std::string& path, std::size_t limit);

}  // namespace kdbg::client
