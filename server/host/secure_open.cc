#include "server/host/secure_open.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::host {
namespace {

absl::Status Unsafe(std::string_view path, std::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputUnsafe,
                   fmt::format("the build left {} where the file {} should be; make it write a "
                               "plain file there",
                               what, path),
                   {{"path", std::string(path)}});
}

absl::StatusOr<UniqueFd> Resolve(int directory_fd, const std::string& path) {
  open_how how{};
  // O_PATH first: opening a pipe would wait for a writer, opening a device can do anything.
  how.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, directory_fd, path.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    switch (errno) {
      case EAGAIN:  // a rename raced with the check for "..": the kernel asks to try again
        continue;
      case EXDEV:
        return Unsafe(path, "a path that leads outside");
      case ELOOP:
        return Unsafe(path, "a symbolic link");
      default:
        return ErrnoError(errno, "open " + path);
    }
  }
}

}  // namespace

absl::StatusOr<UniqueFd> OpenDirectory(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "open directory " + path.string());
  return fd;
}

absl::StatusOr<UniqueFd> OpenBeneath(int directory_fd, std::string_view relative) {
  const std::string path(relative);
  KDBG_ASSIGN_OR_RETURN(UniqueFd found, Resolve(directory_fd, path));
  struct stat status {};
  if (::fstat(found.get(), &status) != 0) return ErrnoError(errno, "stat " + path);
  if (S_ISLNK(status.st_mode)) return Unsafe(path, "a symbolic link");
  if (S_ISFIFO(status.st_mode)) return Unsafe(path, "a pipe");
  if (S_ISDIR(status.st_mode)) return Unsafe(path, "a directory");
  if (!S_ISREG(status.st_mode)) return Unsafe(path, "a device or socket");
  // The same inode again, now for reading, whatever the name means by now.
  const std::string same = fmt::format("/proc/self/fd/{}", found.get());
  UniqueFd readable(::open(same.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!readable) return ErrnoError(errno, "open " + path);
  return readable;
}

}  // namespace kdbg::host
