// The git command line with nothing of its surroundings: no system, user or environment
// configuration, no hooks, no prompts. One object for one repository; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"

namespace kdbg::source {

class Git {
 public:
  explicit Git(std::filesystem::path repository) : repository_(std::move(repository)) {}
  // The same repository with other objects: those of `objects` and `alternate` (may be empty), none
  // of its own; new ones go to `objects`.
  Git(std::filesystem::path repository, std::filesystem::path objects,
      std::filesystem::path alternate)
      : repository_(std::move(repository)),
        objects_(std::move(objects)),
        alternate_(std::move(alternate)) {}

  struct WorkTree {
    std::filesystem::path directory;
    std::filesystem::path index_file;
  };

  const std::filesystem::path& repository() const { return repository_; }

  // "git ..." ready to be started; the caller connects its descriptors.
  Subprocess::Options Command(std::vector<std::string> arguments) const;
  Subprocess::Options Command(std::vector<std::string> arguments, const WorkTree& in) const;

  // Runs to the end and gives what it printed. CANCELLED on `stop`, the process group killed;
  // RESOURCE_EXHAUSTED (kDiskFull) when git ran out of disk; INTERNAL with git's own words
  // otherwise.
  static absl::StatusOr<std::string> Run(Subprocess::Options command, std::stop_token stop = {},
                                         std::string input = {});

  // The same with a limit on its processor time and on its memory: for what a few bytes from
  // outside can make long.
  static Subprocess::Options Limited(Subprocess::Options command, std::int64_t cpu_seconds);

  // The status for a git that failed, from what it wrote to stderr.
  static absl::Status Failure(std::string_view action, const ExitStatus& status,
                              std::string_view stderr_text);

 private:
  const std::filesystem::path repository_;
  const std::filesystem::path objects_;  // empty: the repository's own
  const std::filesystem::path alternate_;
};

// 40 or 64 hex digits.
bool IsObjectId(std::string_view text);

}  // namespace kdbg::source
