#include "client/commands/user_file.h"

#include <fmt/format.h>

#include "proto/support/file.h"

namespace kdbg::client {

absl::StatusOr<std::string> ReadUserFile(const std::string& path, std::size_t limit) {
  auto text = ReadFile(path, limit);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(fmt::format("{}: no such file", path));
  }
  return text;
}

}  // namespace kdbg::client
