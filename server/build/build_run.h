// One build while it runs: its sandboxed commands, its log, its progress and its end by force.
//
// Used by one thread, the build's own; `stop` may be asked for from any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/build/build_log.h"
#include "server/build/build_record.h"
#include "server/build/failure_diagnosis.h"
#include "server/host/sandbox.h"
#include "server/host/terminal_relay.h"

namespace kdbg::build {

// Where things are on the host, and by the paths of the sandbox: /src, /build, /ccache,
// /ccache-trusted.
struct BuildDirectories {
  std::filesystem::path source;
  std::filesystem::path build;
  std::filesystem::path ccache;          // the owner's own
  std::filesystem::path trusted_ccache;  // everybody's
};

// Whose results a build may leave for others.
enum class Trust {
  kOwn,      // nobody's: it reads what is trusted and writes what is its owner's
  kTrusted,  // everybody's: the service's own, of a trusted tree
};

struct BuildCommand {
  std::string label;
  std::vector<std::string> argv;
  std::string input;  // its stdin
};

// Where a command runs that somebody types at.
struct BuildTerminal {
  host::TerminalRelay& relay;
  std::string type;  // TERM
  absl::Duration idle_limit;
};

class BuildRun {
 public:
  struct Parts {
    host::SandboxRunner& runner;
    std::string name;  // for labels: "builds/b-k3v9x2qf"
    BuildDirectories directories;
    std::optional<host::Identity> run_as;
    host::SandboxLimits limits;
    int jobs = 1;
    std::int64_t ccache_limit_mib = 0;
    Trust trust = Trust::kOwn;
    std::stop_token stop;
    // Called a few times a second at most, on the build's thread.
    std::function<void(const BuildProgress&, std::int64_t log_size)> on_change;
    std::function<void()> on_log;
  };

  BuildRun(Parts parts, BuildLog log, BuildProgress progress);

  const BuildDirectories& directories() const { return parts_.directories; }
  int jobs() const { return parts_.jobs; }
  const std::stop_token& stop() const { return parts_.stop; }
  const BuildProgress& progress() const { return progress_; }
  std::int64_t log_size() const { return log_.size_bytes(); }
  const UniqueFd& log_file() const { return log_.file(); }

  // Goes on where an earlier run of the daemon was cut off: the log has its part already.
  absl::Status Resume();
  bool resumed() const { return resumed_; }

  void EnterPhase(BuildPhase phase);
  void SetExpected(std::int64_t steps, bool estimated);
  void SetCacheCounts(std::int64_t hits, std::int64_t misses);

  // Runs it to its end, output to the log. Errors as of FailureStatus; CANCELLED after `stop`.
  absl::Status Run(const BuildCommand& command);

  // The same on a terminal instead of into the log; its stdin is the terminal. Left by Ctrl-C is
  // OK. DEADLINE_EXCEEDED (kIdle) when nobody types.
  absl::Status RunOnTerminal(const BuildCommand& command, const BuildTerminal& terminal);

  // A line of our own in the log.
  absl::Status Say(std::string_view line);
  absl::Status FinishLog();

  // How long each phase took so far, in order.
  struct PhaseTime {
    BuildPhase phase;
    absl::Duration duration;
  };
  std::vector<PhaseTime> PhaseTimes() const;

 private:
  host::Sandbox Describe(const BuildCommand& command) const;
  // Until the other end is closed.
  absl::Status Pump(int fd, FailureDiagnosis& diagnosis);
  void TakeOutput(std::string_view bytes, FailureDiagnosis& diagnosis);
  void Notify();
  void MeasureRate();
  absl::Status Verdict(const host::SandboxResult& result, const FailureDiagnosis& diagnosis) const;

  Parts parts_;
  BuildLog log_;
  BuildProgress progress_;
  bool resumed_ = false;
  std::int64_t steps_before_phase_ = 0;
  std::string line_;  // the line that is not complete yet
  bool change_pending_ = false;
  absl::Time last_notified_ = absl::InfinitePast();
  std::vector<std::pair<BuildPhase, absl::Time>> phases_;
};

// Whether a line of make's short output tells of one step: "  CC      init/main.o".
bool IsStepLine(std::string_view line);

}  // namespace kdbg::build
