#include "server/guest/saved_state.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"

namespace kdbg::guest {
namespace {

// The name of its section behind the name's length; then instance and version, four bytes each.
constexpr std::string_view kSection = "\x0bglobalstate";
constexpr std::size_t kTextSize = 100;
constexpr std::size_t kHeader = kSection.size() + 4 + 4 + 4;
// Devices come behind the memory and take a fraction of this.
constexpr off_t kTailBytes = off_t{16} << 20;
// Big-endian length with its zero, then the text.
constexpr std::string_view kPaused = std::string_view("\0\0\0\x07paused\0\0", 12);

}  // namespace

std::optional<std::size_t> FindRunState(std::string_view state) {
  // The last one: guest memory, which comes first, may hold anything.
  const std::size_t at = state.rfind(kSection);
  if (at == std::string_view::npos || state.size() - at < kHeader + kTextSize) return std::nullopt;
  const std::size_t text = at + kHeader;
  const std::size_t length = static_cast<unsigned char>(state[text - 1]);
  const bool zero_padded = length > 1 && length <= kTextSize &&
                           state.substr(text, kTextSize).find('\0') == length - 1 &&
                           state.substr(text - 4, 3) == std::string_view("\0\0\0", 3);
  return zero_padded ? std::optional(text) : std::nullopt;
}

absl::Status MarkPaused(int file) {
  struct stat status {};
  if (::fstat(file, &status) != 0) return ErrnoError(errno, "look at a saved state");
  const off_t begin = std::max<off_t>(0, status.st_size - kTailBytes);
  std::string tail(static_cast<std::size_t>(status.st_size - begin), '\0');
  if (::pread(file, tail.data(), tail.size(), begin) != static_cast<ssize_t>(tail.size())) {
    return ErrnoError(errno, "read a saved state");
  }
  const std::optional<std::size_t> text = FindRunState(tail);
  if (!text) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                     "QEMU saved something that is no machine's state");
  }
  std::string padded(kPaused);
  padded.resize(4 + kTextSize);
  const off_t at = begin + static_cast<off_t>(*text) - 4;
  if (::pwrite(file, padded.data(), padded.size(), at) != static_cast<ssize_t>(padded.size())) {
    return ErrnoError(errno, "write a saved state");
  }
  return absl::OkStatus();
}

}  // namespace kdbg::guest
