#include "proto/support/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg {

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path, std::size_t max_bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "open " + path.string());
  std::string content;
  char buffer[65536];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read " + path.string());
    if (n == 0) return content;
    content.append(buffer, static_cast<std::size_t>(n));
    if (content.size() > max_bytes) {
      return absl::ResourceExhaustedError(
          fmt::format("{} is longer than {} bytes", path.string(), max_bytes));
    }
  }
}

absl::Status WriteAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "write");
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

namespace {

absl::Status FillAndSync(int fd, std::string_view content, int mode) {
  KDBG_RETURN_IF_ERROR(WriteAll(fd, content));
  if (::fchmod(fd, static_cast<mode_t>(mode)) != 0) return ErrnoError(errno, "fchmod");
  if (::fsync(fd) != 0) return ErrnoError(errno, "fsync");
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFileAtomic(const std::filesystem::path& path, std::string_view content,
                             int mode) {
  std::string temporary = path.string() + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "create " + temporary);
  absl::Status status = FillAndSync(fd.get(), content, mode);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoError(errno, "rename to " + path.string());
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

absl::Status MakeDirectories(const std::filesystem::path& path, int mode) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoError(error.value(), "create directory " + path.string());
  if (::chmod(path.c_str(), static_cast<mode_t>(mode)) != 0) {
    return ErrnoError(errno, "chmod " + path.string());
  }
  return absl::OkStatus();
}

}  // namespace kdbg
