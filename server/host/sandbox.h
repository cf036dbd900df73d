// What a sandboxed command may see and use, and the seam through which one is started.
//
// Every command of a build (make, a compiler, the source's own scripts) is somebody else's code. It
// runs in fresh namespaces under its owner's uid, sees /usr read-only, a few files of /etc and the
// directories named here, and has no network. When a sandbox cannot be had, the command is refused;
// it never runs bare.
//
// A SandboxRunner may be used from any thread. It is implemented by RunnerClient; tests use
// FakeSandboxRunner.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/support/subprocess.h"
#include "server/host/identity.h"

namespace kdbg::host {

enum class Access { kReadOnly, kWritable };

// A directory or file of the host and where it appears inside. The source is opened before
// privileges are dropped, so directories above it may stay closed to the uid of the build; it must
// itself admit that uid. The root of a writable bind, and what the daemon put into it, is given to
// that uid first.
struct Bind {
  std::filesystem::path host;
  std::string inside;
  Access access = Access::kReadOnly;
};

// Zero means no limit of that kind, except where the runner sets one of its own.
struct SandboxLimits {
  std::int64_t memory_bytes =
      0;              // of all processes together, page cache that can be dropped included
  int processes = 0;  // and threads, at one time
  std::int64_t file_bytes = 0;  // of any one file
  absl::Duration wall_time = absl::InfiniteDuration();
  int nice = 0;  // of each process and, where there are groups, of the sandbox as one
};

struct Sandbox {
  std::string label;  // for logs: "builds/b-k3v9x2 olddefconfig"
  std::optional<Identity>
      run_as;  // never uid 0; absent only when the runner is not root: its own uid
  std::vector<Bind> binds;
  std::vector<std::string> argv;  // argv[0] is looked up in PATH inside
  std::vector<std::string>
      environment;  // "K=V", the whole of it beside PATH and HOME, which have defaults
  std::string working_directory;  // inside
  SandboxLimits limits;
};

// Why a command ended. Anything but kExited and kNotStarted was an end by force.
enum class EndCause {
  kExited,
  kCancelled,
  kTimedOut,
  kOutOfMemory,
  kTooManyProcesses,
  kNotStarted,  // the sandbox could not be put together: `message` says why
  kRunnerLost,  // the runner went away in the middle; it takes the command with it
};

std::string_view EndCauseName(EndCause cause);  // "timed out"

struct SandboxResult {
  // As a shell reports it: a command that a signal ended has code 128 + signal.
  ExitStatus status;
  EndCause cause = EndCause::kExited;
  std::string message;  // for kNotStarted and kRunnerLost
  absl::Duration cpu_time;
  std::int64_t peak_memory_bytes =
      0;  // of the whole sandbox where it can be measured, else of its largest process

  bool ok() const { return cause == EndCause::kExited && status.ok(); }
};

// One running command. When Wait() has returned, no process of the sandbox is left.
class SandboxRun {
 public:
  virtual ~SandboxRun() = default;  // cancels and waits

  // The same answer each time it is called.
  virtual SandboxResult Wait() = 0;
  // Ends the whole tree within two seconds; returns at once. Idempotent, from any thread.
  virtual void Cancel() = 0;
};

struct LimitReport {
  std::string name;       // "memory", "processes", "file size", "wall time", "uid", "network"
  bool holds = false;     // for a build that tries to break it
  std::string mechanism;  // "cgroup v2", "cgroup v1", "rlimit", "none"
  std::string detail;     // what holds, or what to do so that it does
};

struct SandboxAbility {
  bool usable = false;
  std::string reason;  // why not, with what to do about it
  std::vector<LimitReport> limits;
};

class SandboxRunner {
 public:
  virtual ~SandboxRunner() = default;

  // Returns once the runner has accepted the command. Descriptors are only borrowed; -1 is
  // /dev/null. INVALID_ARGUMENT and PERMISSION_DENIED: what is asked for is not allowed.
  // FAILED_PRECONDITION kSandboxUnavailable: this host cannot sandbox. UNAVAILABLE
  // kRunnerUnavailable: no runner answers.
  virtual absl::StatusOr<std::unique_ptr<SandboxRun>> Start(const Sandbox& sandbox, int stdin_fd,
                                                            int stdout_fd, int stderr_fd) = 0;

  // Runs a trivial sandbox to find out. Takes some tens of milliseconds.
  virtual SandboxAbility Probe() = 0;
};

}  // namespace kdbg::host
