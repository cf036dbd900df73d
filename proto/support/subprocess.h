// A child process: posix_spawn (no fork of a threaded gRPC process), a pidfd to wait on, its own
// process group so that the whole of it can be ended.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg {

struct ExitStatus {
  int code = 0;    // exit code, when signal is 0
  int signal = 0;  // the signal that ended it, or 0
  bool ok() const { return code == 0 && signal == 0; }
  std::string Describe() const;  // "exit status 2", "killed by SIGKILL"
};

class Subprocess {
 public:
  struct Options {
    std::vector<std::string> argv;                        // argv[0] is looked up in PATH
    std::optional<std::vector<std::string>> environment;  // "K=V"; absent: ours
    std::string working_directory;                        // empty: ours
    // Child descriptors and ours to put there; every other descriptor of ours is close-on-exec.
    // 0, 1 and 2 not named here become /dev/null.
    std::vector<std::pair<int, int>> descriptors;
  };

  static absl::StatusOr<Subprocess> Start(const Options& options);

  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&& other) noexcept;
  // Kills the group with SIGKILL and reaps, unless waited for.
  ~Subprocess();

  int pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable once the child has ended

  // Lets the child go on when this handle goes; nobody waits for it.
  void Leave();

  // To the process group of the child.
  void Signal(int signal_number) const;

  // Blocks until the child ends, at most `timeout` (nullopt then).
  std::optional<ExitStatus> WaitFor(std::chrono::milliseconds timeout);
  ExitStatus Wait();

 private:
  Subprocess() = default;
  int pid_ = -1;
  UniqueFd pidfd_;
  std::optional<ExitStatus> status_;
};

struct CommandResult {
  ExitStatus status;
  std::string output;  // stdout
  std::string error;   // stderr
};

// Runs to the end with `input` on stdin. stdout and stderr are each kept up to `max_output` bytes;
// what follows is read and dropped. A descriptor the options already name is the caller's. The
// group is killed on `stop`, CANCELLED then, and after `timeout`: DEADLINE_EXCEEDED.
absl::StatusOr<CommandResult> RunCommand(
    Subprocess::Options options, std::string input = {},
    std::chrono::milliseconds timeout = std::chrono::minutes(10),
    std::size_t max_output = std::size_t{16} << 20, std::stop_token stop = {});

}  // namespace kdbg
