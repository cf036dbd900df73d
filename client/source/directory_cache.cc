#include "client/source/directory_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNameDigits = 16;
constexpr std::size_t kLongestId = 64;

absl::StatusOr<UniqueFd> OpenLock(const fs::path& path) {
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return ErrnoError(errno, "open " + path.string());
  return lock;
}

std::int64_t SizeBelow(const fs::path& folder) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored))
      bytes += static_cast<std::int64_t>(entry->file_size(ignored));
  }
  return bytes;
}

// Files of `folder` whose names begin like this.
void RemoveFiles(const fs::path& folder, std::string_view prefix) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::error_code ignored;
    if (entry.path().filename().string().starts_with(prefix)) fs::remove(entry.path(), ignored);
  }
}

}  // namespace

absl::StatusOr<DirectoryCache> DirectoryCache::Open(const fs::path& cache_root,
                                                    const fs::path& directory,
                                                    std::int64_t max_object_bytes) {
  const fs::path root =
      cache_root / "sources" / Sha256Hex(directory.native()).substr(0, kNameDigits);
  KDBG_RETURN_IF_ERROR(MakeDirectories(root, 0700));
  KDBG_ASSIGN_OR_RETURN(UniqueFd use, OpenLock(root / "use"));
  if (::flock(use.get(), LOCK_EX | LOCK_NB) == 0) {
    RemoveFiles(root, "scratch-");  // of one that was killed
    if (SizeBelow(root / "objects") > max_object_bytes) {
      std::error_code ignored;
      fs::remove_all(root / "objects", ignored);
    }
  }
  // An exclusive lock becomes a shared one.
  if (::flock(use.get(), LOCK_SH) != 0) return ErrnoError(errno, "lock " + root.string());
  KDBG_RETURN_IF_ERROR(MakeDirectories(root / "objects", 0700));
  return DirectoryCache(root, std::move(use));
}

fs::path DirectoryCache::Scratch(std::string_view name) const {
  return root_ / fmt::format("scratch-{}-{}", ::getpid(), name);
}

fs::path DirectoryCache::PackOf(std::string_view recipe) const {
  return root_ / fmt::format("pack-{}", Sha256Hex(recipe));
}

absl::StatusOr<UniqueFd> DirectoryCache::LockRepository() const {
  KDBG_ASSIGN_OR_RETURN(UniqueFd lock, OpenLock(root_ / "repository-lock"));
  int result = 0;
  do {
    result = ::flock(lock.get(), LOCK_EX);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return ErrnoError(errno, "lock " + root_.string());
  return lock;
}

fs::path DirectoryCache::SentFile(std::string_view server) const {
  return root_ / fmt::format("sent-{}", Sha256Hex(server).substr(0, kNameDigits));
}

std::string DirectoryCache::LastSent(std::string_view server) const {
  absl::StatusOr<std::string> tree = ReadFile(SentFile(server), kLongestId);
  return tree.ok() ? *std::move(tree) : std::string();
}

absl::Status DirectoryCache::NoteSent(std::string_view server, std::string_view tree) const {
  // Unless somebody else is about to send one.
  if (::flock(use_.get(), LOCK_EX | LOCK_NB) == 0) RemoveFiles(root_, "pack-");
  if (::flock(use_.get(), LOCK_SH) != 0) return ErrnoError(errno, "lock " + root_.string());
  return WriteFileAtomic(SentFile(server), tree, 0600);
}

}  // namespace kdbg::client
