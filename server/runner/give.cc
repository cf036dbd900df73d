#include "server/runner/give.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <memory>
#include <system_error>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::runner {
namespace {

struct NewOwner {
  uid_t from;
  uid_t uid;
  gid_t gid;
};

enum class Depth { kTop, kBelow };

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

absl::Status GiveOne(int path_fd, const NewOwner& owner, Depth depth);

absl::Status GiveEntries(int path_fd, const NewOwner& owner) {
  const std::string self = fmt::format("/proc/self/fd/{}", path_fd);
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(self.c_str()));
  if (!directory) return ErrnoError(errno, "list a directory of the build");
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const UniqueFd fd(
        ::openat(::dirfd(directory.get()), entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno == ENOENT) continue;  // another command of the same build removed it
    if (!fd) return ErrnoError(errno, fmt::format("open {}", name));
    KDBG_RETURN_IF_ERROR(GiveOne(fd.get(), owner, Depth::kBelow));
  }
  return absl::OkStatus();
}

absl::Status GiveOne(int path_fd, const NewOwner& owner, Depth depth) {
  struct stat status {};
  if (::fstat(path_fd, &status) != 0) return ErrnoError(errno, "stat a file of the build");
  const bool is_directory = S_ISDIR(status.st_mode);
  const bool ours = status.st_uid == owner.from && (is_directory || status.st_nlink == 1);
  if (ours && ::fchownat(path_fd, "", owner.uid, owner.gid, AT_EMPTY_PATH) != 0) {
    return ErrnoError(errno, "give a file to the build's user");
  }
  if (is_directory && (ours || depth == Depth::kTop)) return GiveEntries(path_fd, owner);
  return absl::OkStatus();
}

}  // namespace

absl::Status GiveTo(int path_fd, uid_t from, uid_t uid, gid_t gid) {
  return GiveOne(path_fd, {.from = from, .uid = uid, .gid = gid}, Depth::kTop);
}

int ThreadsOf(uid_t uid) {
  int threads = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) != 0 || status.st_uid != uid) continue;
    // A directory has one link for each directory in it, beside its own two.
    struct stat tasks {};
    if (::stat((entry.path() / "task").c_str(), &tasks) == 0) {
      threads += static_cast<int>(tasks.st_nlink) - 2;
    }
  }
  return threads;
}

absl::Status WriteFileIfThere(const std::string& path, std::string_view content) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, "open " + path);
  return WriteAll(fd.get(), content);
}

}  // namespace kdbg::runner
