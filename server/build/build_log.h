// The log of one build: a file that grows while the build runs and stays until the build is
// deleted.
//
// One thread appends; any thread may read the file by offset meanwhile. Bounded: beyond the limit a
// note says how much was left out, the last lines always get in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::build {

struct LogSlice {
  std::int64_t offset_bytes = 0;  // of the first byte of `data`
  std::string data;
  bool ended = false;  // the build has ended and `data` reaches the end of its log
};

class BuildLog {
 public:
  // Goes on behind what is there: a build that a restart of the daemon interrupted has one log.
  static absl::StatusOr<BuildLog> Open(const std::filesystem::path& path, std::int64_t limit_bytes);

  // Bytes beyond the limit are counted and dropped.
  absl::Status Append(std::string_view bytes);
  // Writes the note and the last lines, when something was left out. Idempotent.
  absl::Status Finish();
  std::int64_t size_bytes() const { return size_; }
  // For reading it back.
  const UniqueFd& file() const { return fd_; }

 private:
  BuildLog(UniqueFd fd, std::int64_t size_bytes, std::int64_t limit_bytes);

  UniqueFd fd_;
  std::int64_t limit_;
  std::int64_t size_;
  std::int64_t dropped_ = 0;
  std::string tail_;  // the last of what was dropped
};

// Bytes of the log at `path`; a file that is not there reads as empty. Negative offsets count from
// the end. OUT_OF_RANGE (kOffsetOutOfRange) beyond the end.
absl::StatusOr<LogSlice> ReadLogFile(const std::filesystem::path& path, std::int64_t offset_bytes,
                                     std::size_t max_bytes);

}  // namespace kdbg::build
