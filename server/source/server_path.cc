#include "server/source/server_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kRead = 4;
constexpr mode_t kSearch = 1;

absl::Status NotAllowed(const fs::path& path, std::string_view why) {
  return MakeError(absl::StatusCode::kPermissionDenied, Reason::kPathNotAllowed,
                   fmt::format("{}: {}", path.string(), why), {{"path", path.string()}});
}

bool IsBelow(const fs::path& path, const fs::path& root) {
  const auto [end, rest] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end();
}

bool IsAllowed(const fs::path& path, std::span<const fs::path> allowed) {
  return std::any_of(allowed.begin(), allowed.end(), [&](const fs::path& root) {
    std::error_code error;
    const fs::path canonical = fs::canonical(root, error);
    return !error && IsBelow(path, canonical);
  });
}

// Who reads: a uid with its groups.
class Reader {
 public:
  explicit Reader(uid_t uid) : uid_(uid) {
    passwd entry{};
    passwd* found = nullptr;
    std::vector<char> text(16384);
    if (::getpwuid_r(uid, &entry, text.data(), text.size(), &found) != 0 || found == nullptr) {
      return;
    }
    int count = 64;
    groups_.resize(static_cast<std::size_t>(count));
    while (::getgrouplist(entry.pw_name, entry.pw_gid, groups_.data(), &count) < 0) {
      groups_.resize(static_cast<std::size_t>(count));
    }
    groups_.resize(static_cast<std::size_t>(count));
  }

  bool May(mode_t access, const struct stat& file) const {
    if (uid_ == 0) return true;
    if (file.st_uid == uid_) return (file.st_mode >> 6 & access) == access;
    if (std::find(groups_.begin(), groups_.end(), file.st_gid) != groups_.end()) {
      return (file.st_mode >> 3 & access) == access;
    }
    return (file.st_mode & access) == access;
  }

 private:
  const uid_t uid_;
  std::vector<gid_t> groups_;
};

constexpr std::string_view kNotReadable = "you may not read it; upload the file instead";

// Component by component, each looked at through the descriptor that the next step starts from.
absl::StatusOr<UniqueFd> OpenAs(const fs::path& path, const std::optional<Reader>& reader) {
  UniqueFd folder(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat status {};
  for (const fs::path& part : path.parent_path().relative_path()) {
    folder.Reset(
        ::openat(folder.get(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder || ::fstat(folder.get(), &status) != 0) return DiskError(errno, "open", path);
    if (reader && !reader->May(kSearch, status)) return NotAllowed(path, kNotReadable);
  }
  const fs::path name = path.filename();
  // Before the open, which is not harmless for everything that is no regular file.
  if (::fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return DiskError(errno, "stat", path);
  }
  if (!S_ISREG(status.st_mode)) return NotAllowed(path, "not a regular file");
  UniqueFd file(
      ::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file) return DiskError(errno, "open", path);
  if (::fstat(file.get(), &status) != 0) return DiskError(errno, "stat", path);
  if (!S_ISREG(status.st_mode)) return NotAllowed(path, "not a regular file");
  if (reader && !reader->May(kRead, status)) return NotAllowed(path, kNotReadable);
  return file;
}

}  // namespace

absl::StatusOr<ServerFile> OpenServerFile(const fs::path& path, std::span<const fs::path> allowed,
                                          std::optional<uid_t> reader) {
  if (!path.is_absolute()) {
    return InvalidField("server_path.path", path.string(), "a path on the server is absolute");
  }
  const std::string refusal =
      fmt::format("the server takes sources only from below [{}]; upload the file instead",
                  fmt::join(std::vector<std::string>(allowed.begin(), allowed.end()), ", "));
  // First as written, so that nothing is told of what exists elsewhere; then as it resolves.
  const bool as_written = std::any_of(allowed.begin(), allowed.end(), [&](const fs::path& root) {
    return IsBelow(path.lexically_normal(), root.lexically_normal());
  });
  if (!as_written) return NotAllowed(path, refusal);
  std::error_code error;
  ServerFile file;
  file.path = fs::canonical(path, error);
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                     fmt::format("{}: no such file on the server", path.string()),
                     {{"resource", path.string()}});
  }
  if (error) return NotAllowed(path, error.message());
  if (!IsAllowed(file.path, allowed)) return NotAllowed(path, refusal);
  std::optional<Reader> rights;
  if (reader) rights.emplace(*reader);
  KDBG_ASSIGN_OR_RETURN(file.fd, OpenAs(file.path, rights));
  return file;
}

}  // namespace kdbg::source
