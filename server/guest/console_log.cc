#include "server/guest/console_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::guest {
namespace {

constexpr std::int64_t kBlock = 65536;  // a multiple of every file system's block
constexpr std::int64_t kTailBytes = 16384;

absl::Status CopyFrom(int from, const std::filesystem::path& to) {
  const UniqueFd copy(::open(to.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!copy) return ErrnoError(errno, fmt::format("make {}", to.string()));
  const off_t end = ::lseek(from, 0, SEEK_END);
  off_t at = ::lseek(from, 0, SEEK_DATA);  // only the head can be a hole
  if (at < 0) at = end;
  for (off_t there = at; at < end;) {
    const ssize_t copied =
        ::copy_file_range(from, &at, copy.get(), &there, static_cast<std::size_t>(end - at), 0);
    if (copied > 0 || (copied < 0 && errno == EINTR)) continue;
    return ErrnoError(errno, fmt::format("copy a console log to {}", to.string()));
  }
  if (::ftruncate(copy.get(), end) != 0) return ErrnoError(errno, to.string());
  return absl::OkStatus();
}

}  // namespace

absl::Status CopyConsole(const std::filesystem::path& from, const std::filesystem::path& to) {
  const UniqueFd log(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!log) return ErrnoError(errno, fmt::format("open {}", from.string()));
  return CopyFrom(log.get(), to);
}

absl::StatusOr<std::shared_ptr<ConsoleLog>> ConsoleLog::Open(const std::filesystem::path& file,
                                                             IoWatcher& watcher,
                                                             std::int64_t keep_bytes) {
  UniqueFd opened(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!opened) return ErrnoError(errno, fmt::format("open the console log {}", file.string()));
  std::shared_ptr<ConsoleLog> log(new ConsoleLog(std::move(opened), keep_bytes));
  // The watch lives in the log and ends with it, waiting for a call in progress.
  KDBG_ASSIGN_OR_RETURN(log->watch_, watcher.WatchFile(file, [raw = log.get()] { raw->Grown(); }));
  return log;
}

ConsoleLog::ConsoleLog(UniqueFd file, std::int64_t keep_bytes)
    : file_(std::move(file)), keep_bytes_(keep_bytes) {}

std::int64_t ConsoleLog::size() const {
  struct stat status {};
  return ::fstat(file_.get(), &status) == 0 ? status.st_size : 0;
}

std::int64_t ConsoleLog::oldest_offset() const {
  // Guests print no holes, so the first data is where the freed head ends.
  const off_t first = ::lseek(file_.get(), 0, SEEK_DATA);
  return first < 0 ? 0 : first;
}

absl::StatusOr<std::string> ConsoleLog::Read(std::int64_t offset, std::size_t max_bytes) const {
  const std::int64_t end = size();
  const std::int64_t oldest = oldest_offset();
  if (offset < oldest || offset > end) {
    return MakeError(absl::StatusCode::kOutOfRange, Reason::kOffsetOutOfRange,
                     fmt::format("the console log is kept from byte {} to byte {}; read from there",
                                 oldest, end),
                     {{"offset", fmt::to_string(offset)},
                      {"oldest_offset", fmt::to_string(oldest)},
                      {"size", fmt::to_string(end)}});
  }
  std::string bytes(std::min<std::int64_t>(static_cast<std::int64_t>(max_bytes), end - offset), 0);
  const ssize_t got = ::pread(file_.get(), bytes.data(), bytes.size(), offset);
  if (got < 0) return ErrnoError(errno, "read the console log");
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

std::string ConsoleLog::LastLines(int count) const {
  const std::int64_t end = size();
  absl::StatusOr<std::string> tail =
      Read(std::max(oldest_offset(), end - kTailBytes), static_cast<std::size_t>(kTailBytes));
  if (!tail.ok()) return "";
  std::erase(*tail, '\r');
  while (!tail->empty() && tail->back() == '\n') tail->pop_back();
  std::size_t start = tail->size();
  for (int line = 0; line < count && start > 0; ++line) {
    const std::size_t newline = tail->rfind('\n', start - 1);
    if (newline == std::string::npos) return *tail;
    start = newline;
  }
  return start == tail->size() ? "" : tail->substr(start + 1);
}

absl::Status ConsoleLog::CopyTo(const std::filesystem::path& copy) const {
  return CopyFrom(file_.get(), copy);
}

Subscription ConsoleLog::OnGrowth(std::function<void()> grown) {
  return subscribers_.Add(std::move(grown));
}

void ConsoleLog::Grown() {
  const std::int64_t end = size();
  if (end - oldest_offset() > keep_bytes_ + kBlock) {
    const std::int64_t head = (end - keep_bytes_) / kBlock * kBlock;
    ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, head);
  }
  subscribers_.Notify();
}

}  // namespace kdbg::guest
