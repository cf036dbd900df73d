#include "server/build/build_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

constexpr std::size_t kTailBytes = 16 << 10;

}  // namespace

absl::StatusOr<BuildLog> BuildLog::Open(const std::filesystem::path& path,
                                        std::int64_t limit_bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat about = {};
  if (!fd || ::fstat(fd.get(), &about) != 0) {
    return ErrnoError(errno, fmt::format("open {}", path.string()));
  }
  return BuildLog(std::move(fd), about.st_size, limit_bytes);
}

BuildLog::BuildLog(UniqueFd fd, std::int64_t size_bytes, std::int64_t limit_bytes)
    : fd_(std::move(fd)), limit_(limit_bytes), size_(size_bytes) {}

absl::Status BuildLog::Append(std::string_view bytes) {
  const auto room = static_cast<std::size_t>(std::max<std::int64_t>(0, limit_ - size_));
  const std::string_view kept = bytes.substr(0, dropped_ > 0 ? 0 : room);
  if (!kept.empty()) {
    KDBG_RETURN_IF_ERROR(WriteAll(fd_.get(), kept));
    size_ += static_cast<std::int64_t>(kept.size());
  }
  const std::string_view rest = bytes.substr(kept.size());
  if (rest.empty()) return absl::OkStatus();
  dropped_ += static_cast<std::int64_t>(rest.size());
  tail_.append(rest.substr(rest.size() - std::min(rest.size(), kTailBytes)));
  if (tail_.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  return absl::OkStatus();
}

absl::Status BuildLog::Finish() {
  if (dropped_ == 0) return absl::OkStatus();
  if (tail_.size() > kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  const std::string end = fmt::format("\n[kdbgd: the log is full; {} bytes are left out here]\n{}",
                                      dropped_ - static_cast<std::int64_t>(tail_.size()), tail_);
  dropped_ = 0;
  limit_ = 0;
  tail_.clear();
  KDBG_RETURN_IF_ERROR(WriteAll(fd_.get(), end));
  size_ += static_cast<std::int64_t>(end.size());
  return absl::OkStatus();
}

absl::StatusOr<LogSlice> ReadLogFile(const std::filesystem::path& path, std::int64_t offset_bytes,
                                     std::size_t max_bytes) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat about = {};
  if (!fd && errno != ENOENT) return ErrnoError(errno, fmt::format("open {}", path.string()));
  if (fd && ::fstat(fd.get(), &about) != 0) {
    return ErrnoError(errno, fmt::format("stat {}", path.string()));
  }
  const std::int64_t size = about.st_size;
  LogSlice slice;
  slice.offset_bytes =
      offset_bytes < 0 ? std::max<std::int64_t>(0, size + offset_bytes) : offset_bytes;
  if (slice.offset_bytes > size) {
    return MakeError(
        absl::StatusCode::kOutOfRange, Reason::kOffsetOutOfRange,
        fmt::format("offset {} lies beyond the end of the log, {} bytes", offset_bytes, size),
        {{"offset", std::to_string(offset_bytes)}, {"size", std::to_string(size)}});
  }
  const auto wanted =
      std::min<std::size_t>(max_bytes, static_cast<std::size_t>(size - slice.offset_bytes));
  slice.data.resize(wanted);
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t got = ::pread(fd.get(), slice.data.data() + done, wanted - done,
                                slice.offset_bytes + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, fmt::format("read {}", path.string()));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  slice.data.resize(done);
  return slice;
}

}  // namespace kdbg::build
