#include "server/base/disk_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"

namespace kdbg {
namespace {

absl::Status DiskFull(std::string_view what, const std::filesystem::path& path) {
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                   fmt::format("{}; the server's disk is full: free space, then try again", what),
                   {{"path", path.string()}});
}

}  // namespace

absl::Status DiskError(int error_number, std::string_view action,
                       const std::filesystem::path& path) {
  const absl::Status status = ErrnoError(error_number, fmt::format("{} {}", action, path.string()));
  if (error_number != ENOSPC && error_number != EDQUOT) return status;
  return DiskFull(std::string(status.message()), path);
}

absl::Status WithDiskReason(absl::Status status, const std::filesystem::path& path) {
  if (!absl::IsResourceExhausted(status) || GetErrorDetail(status)) return status;
  return DiskFull(std::string(status.message()), path);
}

absl::Status RemoveTree(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return error ? DiskError(error.value(), "remove", path) : absl::OkStatus();
}

}  // namespace kdbg
