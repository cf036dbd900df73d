#include "server/build/build_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <utility>

#include "absl/time/clock.h"
#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/build/build_failure.h"
#include "server/host/pty.h"

namespace kdbg::build {
namespace {

constexpr absl::Duration kNotifyInterval = absl::Milliseconds(250);
constexpr std::size_t kLongestLine = 4096;

absl::StatusOr<UniqueFd> InputFile(std::string_view input) {
  UniqueFd fd(::memfd_create("kdbg-input", MFD_CLOEXEC));
  if (!fd) return ErrnoError(errno, "memfd_create");
  KDBG_RETURN_IF_ERROR(WriteAll(fd.get(), input));
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "lseek");
  return fd;
}

}  // namespace

bool IsStepLine(std::string_view line) {
  if (!line.starts_with("  ") || line.size() < 5) return false;
  std::size_t at = 2;
  while (at < line.size() && ((line[at] >= 'A' && line[at] <= 'Z') ||
                              (line[at] >= '0' && line[at] <= '9') || line[at] == '_')) {
    ++at;
  }
  return at >= 4 && at + 1 < line.size() && line[at] == ' ' && line[2] >= 'A';
}

BuildRun::BuildRun(Parts parts, BuildLog log, BuildProgress progress)
    : parts_(std::move(parts)), log_(std::move(log)), progress_(progress) {}

absl::Status BuildRun::Resume() {
  resumed_ = true;
  std::string text(std::size_t{64} << 10, '\0');
  FailureDiagnosis earlier;  // what was wrong before is for that run to say
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(log_.file().get(), text.data(), text.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read the log of a build");
    if (got == 0) break;
    TakeOutput(std::string_view(text).substr(0, static_cast<std::size_t>(got)), earlier);
    at += got;
  }
  if (!line_.empty()) KDBG_RETURN_IF_ERROR(log_.Append("\n"));
  line_.clear();
  return Say("the build goes on from its objects");
}

void BuildRun::EnterPhase(BuildPhase phase) {
  phases_.emplace_back(phase, absl::Now());
  progress_.phase = phase;
  steps_before_phase_ = progress_.steps_done;
  progress_.steps_per_second = 0;
  Notify();
}

void BuildRun::SetExpected(std::int64_t steps, bool estimated) {
  progress_.steps_expected = steps;
  progress_.steps_expected_estimated = estimated;
}

void BuildRun::SetCacheCounts(std::int64_t hits, std::int64_t misses) {
  progress_.cache_hits = hits;
  progress_.cache_misses = misses;
}

std::vector<BuildRun::PhaseTime> BuildRun::PhaseTimes() const {
  std::vector<PhaseTime> times;
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    const absl::Time end = i + 1 < phases_.size() ? phases_[i + 1].second : absl::Now();
    times.push_back({phases_[i].first, end - phases_[i].second});
  }
  return times;
}

absl::Status BuildRun::Say(std::string_view line) {
  const absl::Status status = log_.Append(fmt::format("[kdbgd: {}]\n", line));
  parts_.on_log();
  return status;
}

absl::Status BuildRun::FinishLog() {
  const absl::Status status = log_.Finish();
  Notify();
  return status;
}

// Of this phase; the first steps of it, mostly makefiles being read, say little.
void BuildRun::MeasureRate() {
  if (progress_.phase != BuildPhase::kCompiling) return;
  const absl::Duration passed = absl::Now() - phases_.back().second;
  const std::int64_t steps = progress_.steps_done - steps_before_phase_;
  if (passed < absl::Seconds(2) || steps < 20) return;
  progress_.steps_per_second = static_cast<double>(steps) / absl::ToDoubleSeconds(passed);
}

void BuildRun::Notify() {
  MeasureRate();
  change_pending_ = false;
  last_notified_ = absl::Now();
  parts_.on_change(progress_, log_.size_bytes());
}

host::Sandbox BuildRun::Describe(const BuildCommand& command) const {
  host::Sandbox sandbox;
  sandbox.label = fmt::format("{} {}", parts_.name, command.label);
  sandbox.run_as = parts_.run_as;
  sandbox.binds = {
      {parts_.directories.source, "/src", host::Access::kReadOnly},
      {parts_.directories.build, "/build", host::Access::kWritable},
      {parts_.directories.ccache, "/ccache", host::Access::kWritable},
      {parts_.directories.trusted_ccache, "/ccache-trusted",
       parts_.trust == Trust::kTrusted ? host::Access::kWritable : host::Access::kReadOnly}};
  sandbox.argv = command.argv;
  // The statistics log is what cache hits are counted from; DEPEND takes what the compiler itself
  // says of its inputs instead of preprocessing everything twice.
  sandbox.environment = {"LC_ALL=C",
                         "TZ=UTC",
                         "SOURCE_DATE_EPOCH=0",
                         "CCACHE_DIR=/ccache",
                         "CCACHE_DEPEND=1",
                         "CCACHE_STATSLOG=/build/.kdbg/ccache.log",
                         fmt::format("CCACHE_MAXSIZE={}M", parts_.ccache_limit_mib)};
  if (parts_.trust == Trust::kTrusted) {
    sandbox.environment.insert(
        sandbox.environment.end(),
        {"CCACHE_REMOTE_STORAGE=file:/ccache-trusted|umask=022", "CCACHE_REMOTE_ONLY=1"});
  } else {
    sandbox.environment.push_back("CCACHE_REMOTE_STORAGE=file:/ccache-trusted|read-only");
  }
  sandbox.working_directory = "/build";
  sandbox.limits = parts_.limits;
  return sandbox;
}

absl::Status BuildRun::Run(const BuildCommand& command) {
  if (parts_.stop.stop_requested()) return absl::CancelledError("the build was cancelled");
  UniqueFd input;
  if (!command.input.empty()) {
    KDBG_ASSIGN_OR_RETURN(input, InputFile(command.input));
  }
  std::array<int, 2> ends = {-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);

  KDBG_ASSIGN_OR_RETURN(
      const std::unique_ptr<host::SandboxRun> run,
      parts_.runner.Start(Describe(command), input.get(), writing.get(), writing.get()));
  writing.Reset();
  const std::stop_callback cancel(parts_.stop, [&run] { run->Cancel(); });

  FailureDiagnosis diagnosis;
  absl::Status pumped = Pump(reading.get(), diagnosis);
  if (!pumped.ok()) run->Cancel();
  const host::SandboxResult result = run->Wait();
  if (!line_.empty()) {
    pumped.Update(log_.Append("\n"));
    TakeOutput("\n", diagnosis);
  }
  Notify();
  if (parts_.stop.stop_requested()) return absl::CancelledError("the build was cancelled");
  KDBG_RETURN_IF_ERROR(pumped);
  return Verdict(result, diagnosis);
}

absl::Status BuildRun::RunOnTerminal(const BuildCommand& command, const BuildTerminal& terminal) {
  if (parts_.stop.stop_requested()) return absl::CancelledError("the build was cancelled");
  KDBG_ASSIGN_OR_RETURN(host::Pty pty, host::Pty::Open(terminal.relay.size()));
  host::Sandbox sandbox = Describe(command);
  sandbox.argv.insert(sandbox.argv.begin(), {"setsid", "--ctty", "--wait"});
  // For people: lines are drawn with the characters of their terminal.
  std::erase(sandbox.environment, "LC_ALL=C");
  sandbox.environment.insert(sandbox.environment.end(), {"LANG=C.UTF-8", "TERM=" + terminal.type});

  KDBG_ASSIGN_OR_RETURN(
      const std::unique_ptr<host::SandboxRun> run,
      parts_.runner.Start(sandbox, pty.terminal_fd(), pty.terminal_fd(), pty.terminal_fd()));
  pty.CloseTerminal();
  const std::stop_callback cancel(parts_.stop, [&run] { run->Cancel(); });
  FailureDiagnosis diagnosis;
  const auto end =
      terminal.relay.Run(pty, parts_.stop, terminal.idle_limit,
                         [&](std::string_view bytes) { TakeOutput(bytes, diagnosis); });
  if (!end.ok() || *end != host::TerminalRelay::End::kClosed) run->Cancel();
  const host::SandboxResult result = run->Wait();
  if (!line_.empty()) TakeOutput("\n", diagnosis);
  if (parts_.stop.stop_requested()) return absl::CancelledError("the build was cancelled");
  KDBG_RETURN_IF_ERROR(end.status());
  if (*end == host::TerminalRelay::End::kIdle) {
    const std::string limit = absl::FormatDuration(terminal.idle_limit);
    return MakeError(absl::StatusCode::kDeadlineExceeded, Reason::kIdle,
                     fmt::format("nobody typed for {}, so it was ended: start it again", limit),
                     {{"limit", limit}});
  }
  const bool interrupted =
      result.cause == host::EndCause::kExited &&
      (result.status.code == 128 + SIGINT || result.status.code == 128 + SIGQUIT);
  return interrupted ? absl::OkStatus() : Verdict(result, diagnosis);
}

absl::Status BuildRun::Pump(int fd, FailureDiagnosis& diagnosis) {
  std::vector<char> buffer(std::size_t{64} << 10);
  while (true) {
    pollfd poller = {.fd = fd, .events = POLLIN, .revents = 0};
    int timeout = -1;
    if (change_pending_) {
      const absl::Duration due = last_notified_ + kNotifyInterval - absl::Now();
      timeout = static_cast<int>(std::max<std::int64_t>(0, absl::ToInt64Milliseconds(due) + 1));
    }
    const int ready = ::poll(&poller, 1, timeout);
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if (ready > 0) {
      const ssize_t got = ::read(fd, buffer.data(), buffer.size());
      if (got == 0) return absl::OkStatus();
      if (got < 0 && errno != EINTR) return ErrnoError(errno, "read the output of a build");
      if (got > 0) {
        const std::string_view bytes(buffer.data(), static_cast<std::size_t>(got));
        KDBG_RETURN_IF_ERROR(log_.Append(bytes));
        TakeOutput(bytes, diagnosis);
        change_pending_ = true;
        parts_.on_log();
      }
    }
    if (change_pending_ && absl::Now() - last_notified_ >= kNotifyInterval) Notify();
  }
}

void BuildRun::TakeOutput(std::string_view bytes, FailureDiagnosis& diagnosis) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    line_.append(part.substr(0, kLongestLine - std::min(kLongestLine, line_.size())));
    if (end == std::string_view::npos) return;
    bytes.remove_prefix(end + 1);
    if (IsStepLine(line_)) {
      ++progress_.steps_done;
      if (progress_.steps_expected > 0) {
        progress_.steps_expected = std::max(progress_.steps_expected, progress_.steps_done);
      }
    }
    diagnosis.Line(line_);
    line_.clear();
  }
}

absl::Status BuildRun::Verdict(const host::SandboxResult& result,
                               const FailureDiagnosis& diagnosis) const {
  using host::EndCause;
  const auto limited = [&](Fault fault, Reason reason, std::string message) {
    BuildFailure failure = diagnosis.Verdict();  // for the lines around its end
    failure.fault = fault;
    failure.reason = reason;
    failure.message = std::move(message);
    return FailureStatus(failure);
  };
  switch (result.cause) {
    case EndCause::kExited: {
      if (result.status.ok()) return absl::OkStatus();
      return FailureStatus(diagnosis.Verdict());
    }
    case EndCause::kCancelled:
      return absl::CancelledError("the build was cancelled");
    case EndCause::kTimedOut:
      return limited(Fault::kHost, Reason::kBuildTimedOut,
                     fmt::format("took longer than {}, which is what one build may take here: "
                                 "build less, or ask for a higher build.time_limit",
                                 absl::FormatDuration(parts_.limits.wall_time)));
    case EndCause::kOutOfMemory:
      return limited(Fault::kHost, Reason::kOutOfMemory,
                     fmt::format("used more than {} MiB of memory, which is what one build may "
                                 "have here: build with fewer jobs, or ask for a higher "
                                 "build.memory_limit_mib",
                                 parts_.limits.memory_bytes >> 20));
    case EndCause::kTooManyProcesses:
      return limited(Fault::kSubject, Reason::kTooManyProcesses,
                     fmt::format("started more than {} processes at once, which is what one build "
                                 "may have",
                                 parts_.limits.processes));
    case EndCause::kNotStarted:
      return limited(Fault::kHost, Reason::kSandboxUnavailable,
                     fmt::format("the sandbox could not be put together: {}", result.message));
    case EndCause::kRunnerLost:
      break;
  }
  return limited(
      Fault::kHost, Reason::kRunnerUnavailable,
      fmt::format("kdbg-runner went away in the middle: {}; build again", result.message));
}

}  // namespace kdbg::build
