// The serial console of one guest as a file that QEMU appends to: every byte from byte 0, at
// offsets that stay true.
//
// Thread-safe. Reads never wait: read until empty, then wait for OnGrowth. The file may grow
// without end, so its head is freed once it holds more than `keep_bytes`; offsets do not move. An
// open log can still be read after the file is removed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/base/subscribers.h"
#include "server/guest/io_watcher.h"

namespace kdbg::guest {

inline constexpr std::int64_t kConsoleKeepBytes = std::int64_t{32} << 20;

class ConsoleLog {
 public:
  // NOT_FOUND when there is no such file.
  static absl::StatusOr<std::shared_ptr<ConsoleLog>> Open(
      const std::filesystem::path& file, IoWatcher& watcher,
      std::int64_t keep_bytes = kConsoleKeepBytes);

  // At most `max_bytes` from `offset`; empty at the end.
  //   OUT_OF_RANGE  kOffsetOutOfRange: before the oldest byte kept or beyond the end; metadata
  //   oldest_offset, size
  absl::StatusOr<std::string> Read(std::int64_t offset, std::size_t max_bytes) const;

  std::int64_t size() const;
  std::int64_t oldest_offset() const;
  // The end of the log: at most this many lines, and 16 KiB, without carriage returns.
  std::string LastLines(int count) const;

  // The whole of it as it is now, freed head included, as a new file that QEMU can append to.
  absl::Status CopyTo(const std::filesystem::path& copy) const;

  // Called from the watcher's thread after bytes were added; many writes may come as one.
  [[nodiscard]] Subscription OnGrowth(std::function<void()> grown);

 private:
  ConsoleLog(UniqueFd file, std::int64_t keep_bytes);
  void Grown();

  const UniqueFd file_;
  const std::int64_t keep_bytes_;
  Subscribers<> subscribers_;
  Subscription watch_;
};

// A new file with the bytes of a log at their offsets; what is a hole there is one here.
absl::Status CopyConsole(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace kdbg::guest
