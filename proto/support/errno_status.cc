#include "proto/support/errno_status.h"

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace kdbg {

absl::Status ErrnoError(int error_number, std::string_view what) {
  const std::string text =
      fmt::format("{}: {}", what, std::generic_category().message(error_number));
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(text);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(text);
    case EEXIST:
      return absl::AlreadyExistsError(text);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

}  // namespace kdbg
