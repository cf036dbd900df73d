#include "server/runner/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <optional>
#include <sstream>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/subprocess.h"
#include "server/host/bubblewrap.h"
#include "server/host/runner_protocol.pb.h"
#include "server/runner/give.h"

namespace kdbg::runner {
namespace {

using host::EndCause;
using host::Sandbox;
using host::SandboxResult;

// Only where the kernel counts without telling (see Cgroup::must_look), or only we count.
constexpr int kLookEveryMs = 250;
constexpr std::size_t kStatusLimit = std::size_t{64} << 10;

absl::StatusOr<UniqueFd> MemoryFile(const char* name, std::string_view content) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd) return ErrnoError(errno, "make a memory file");
  KDBG_RETURN_IF_ERROR(WriteAll(fd.get(), content));
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "rewind a memory file");
  return fd;
}

absl::StatusOr<UniqueFd> WallClock(absl::Duration limit) {
  UniqueFd fd(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!fd) return ErrnoError(errno, "make a timer");
  if (limit != absl::InfiniteDuration()) {
    itimerspec when{};
    when.it_value = absl::ToTimespec(limit);
    if (::timerfd_settime(fd.get(), 0, &when, nullptr) != 0)
      return ErrnoError(errno, "set a timer");
  }
  return fd;
}

// Kills and reaps until no child is left. Those of a dead bubblewrap come to us one generation at a
// time.
void EndChildren() {
  for (;;) {
    std::istringstream children(ReadFile("/proc/thread-self/children").value_or(""));
    for (pid_t pid = 0; children >> pid;) ::kill(pid, SIGKILL);
    if (::waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
  }
}

absl::Status CannotSandbox(std::string_view why) {
  return absl::FailedPreconditionError(fmt::format(
      "no sandbox can be had on this host, and builds do not run without one: {}", why));
}

}  // namespace

struct Supervisor::Running {
  std::unique_ptr<host::Cgroup> cgroup;
  UniqueFd status;  // what the launcher and bubblewrap say
  UniqueFd timer;
  std::optional<Subprocess> child;
  std::string said;
  std::optional<EndCause> cause;
  bool announced = false;
  // Without a control group: how many threads `uid` may have, what it ran before included; 0 for no
  // limit.
  uid_t uid = 0;
  int most_threads = 0;

  bool TooManyProcesses() const {
    return cgroup->TooManyProcesses() || (most_threads > 0 && ThreadsOf(uid) >= most_threads);
  }
  bool must_look() const { return cgroup->must_look() || most_threads > 0; }
};

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(const Options& options,
                                                               int connection) {
  // Whatever loses its parent below us comes to us, not to init.
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return ErrnoError(errno, "become a subreaper");
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  UniqueFd signals(::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return ErrnoError(errno, "make a signal descriptor");
  return std::unique_ptr<Supervisor>(new Supervisor(options, connection, std::move(signals)));
}

Supervisor::Supervisor(const Options& options, int connection, UniqueFd signals)
    : options_(options),
      policy_{.allowed_roots = options.allowed_roots,
              .first_uid = options.first_uid,
              .uid_count = options.uid_count,
              .own_uid = ::geteuid(),
              .client_uid = static_cast<uid_t>(options.client_uid)},
      connection_(connection),
      signals_(std::move(signals)) {}

absl::StatusOr<SandboxResult> Supervisor::Run(const Sandbox& sandbox,
                                              const std::array<int, 3>& standard,
                                              const std::function<void()>& started) {
  KDBG_RETURN_IF_ERROR(CheckSandbox(sandbox, policy_));
  Running running;
  KDBG_RETURN_IF_ERROR(Begin(sandbox, standard, running));
  Watch(running, started);
  return Finish(running);
}

absl::Status Supervisor::Begin(const Sandbox& sandbox, const std::array<int, 3>& standard,
                               Running& running) {
  const std::string name = fmt::format("kdbg-run-{}-{}", ::getpid(), runs_++);
  absl::StatusOr<std::unique_ptr<host::Cgroup>> cgroup =
      host::Cgroup::Create(options_.cgroups, name, sandbox.limits);
  if (!cgroup.ok()) return CannotSandbox(std::string(cgroup.status().message()));
  running.cgroup = *std::move(cgroup);
  running.uid = sandbox.run_as ? sandbox.run_as->uid : policy_.own_uid;
  if (!options_.cgroups.holds_processes() && sandbox.limits.processes > 0) {
    // The kernel counts all that this uid runs on the host, other builds and desktops included.
    running.most_threads = ThreadsOf(running.uid) + sandbox.limits.processes;
  }
  KDBG_ASSIGN_OR_RETURN(running.timer, WallClock(sandbox.limits.wall_time));

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  running.status.Reset(ends[0]);
  const UniqueFd tell(ends[1]);
  ::fcntl(running.status.get(), F_SETFL, O_NONBLOCK);

  Subprocess::Options start;
  start.argv = {"/proc/self/exe", "--launch"};
  start.descriptors = {
      {0, standard[0]}, {1, standard[1]}, {2, standard[2]}, {kStatusFd, tell.get()}};
  std::vector<UniqueFd> files;
  for (const host::GeneratedFile& file : host::GeneratedEtcFiles()) {
    KDBG_ASSIGN_OR_RETURN(UniqueFd fd, MemoryFile("etc", file.content));
    start.descriptors.emplace_back(kFirstFileFd + static_cast<int>(files.size()), fd.get());
    files.push_back(std::move(fd));
  }
  KDBG_ASSIGN_OR_RETURN(const std::string order, LaunchOrderFor(sandbox, running));
  KDBG_ASSIGN_OR_RETURN(const UniqueFd order_file, MemoryFile("order", order));
  start.descriptors.emplace_back(kOrderFd, order_file.get());
  KDBG_ASSIGN_OR_RETURN(running.child, Subprocess::Start(start));
  return absl::OkStatus();
}

absl::StatusOr<std::string> Supervisor::LaunchOrderFor(const Sandbox& sandbox,
                                                       const Running& running) {
  host::wire::LaunchOrder order;
  host::BubblewrapPlan plan{.sandbox = sandbox,
                            .sources = {},
                            .etc = host::FindEtcView("/"),
                            .files = {},
                            .status_fd = kStatusFd};
  const bool root = policy_.own_uid == 0;
  for (const host::Bind& bind : sandbox.binds) {
    KDBG_ASSIGN_OR_RETURN(const RootedPath path, BelowRoot(bind.host, policy_));
    host::wire::LaunchOrder::Source* source = order.add_sources();
    source->set_root(path.root.string());
    source->set_relative(path.relative);
    source->set_writable(bind.access == host::Access::kWritable);
    plan.sources.push_back(root ? fmt::format("/tmp/{}", plan.sources.size()) : bind.host.string());
  }
  int fd = kFirstFileFd;
  for (const host::GeneratedFile& file : host::GeneratedEtcFiles()) {
    plan.files.emplace_back(fd++, file.inside);
  }
  order.set_file_count(static_cast<std::uint32_t>(plan.files.size()));
  if (root) {
    order.set_uid(sandbox.run_as->uid);
    order.set_gid(sandbox.run_as->gid);
    order.set_given_by_uid(policy_.client_uid);
  }
  const std::vector<std::string> procs = running.cgroup->ProcsFiles();
  order.mutable_cgroup_procs()->Assign(procs.begin(), procs.end());
  order.set_nice(sandbox.limits.nice);
  order.set_file_bytes(sandbox.limits.file_bytes);
  if (!options_.cgroups.holds_memory()) order.set_data_bytes(sandbox.limits.memory_bytes);
  order.set_threads(running.most_threads);
  order.set_parent_pid(::getpid());
  const std::vector<std::string> argv = host::BubblewrapArguments(plan);
  order.mutable_argv()->Assign(argv.begin(), argv.end());
  return order.SerializeAsString();
}

void Supervisor::Watch(Running& running, const std::function<void()>& started) {
  const host::Cgroup& cgroup = *running.cgroup;
  pollfd waiting[] = {{.fd = running.child->pidfd(), .events = POLLIN, .revents = 0},
                      {.fd = running.status.get(), .events = POLLIN, .revents = 0},
                      {.fd = signals_.get(), .events = POLLIN, .revents = 0},
                      {.fd = connection_, .events = POLLIN, .revents = 0},
                      {.fd = running.timer.get(), .events = POLLIN, .revents = 0},
                      {.fd = cgroup.memory_event(), .events = POLLIN, .revents = 0},
                      {.fd = cgroup.processes_event(), .events = POLLPRI, .revents = 0}};
  // A regular file is always readable: under version 2 only POLLPRI means news.
  if (!options_.cgroups.unified.empty()) waiting[5].events = POLLPRI;
  while (!running.cause) {
    const int n = ::poll(waiting, std::size(waiting), running.must_look() ? kLookEveryMs : -1);
    if (n < 0 && errno != EINTR) running.cause = EndCause::kCancelled;
    if (n < 0) continue;
    if (waiting[1].revents != 0) {
      Look(running);
      if (!running.status) waiting[1].fd = -1;
    }
    if (!running.announced && running.said.find("child-pid") != std::string::npos) {
      running.announced = true;
      started();
    }
    if (waiting[0].revents != 0) return;
    // Nothing more is said to us on a connection: readable means that the other side has closed.
    if (waiting[2].revents != 0 || waiting[3].revents != 0) running.cause = EndCause::kCancelled;
    if (waiting[4].revents != 0) running.cause = EndCause::kTimedOut;
    if (running.cgroup->OutOfMemory()) running.cause = EndCause::kOutOfMemory;
    if (running.TooManyProcesses()) running.cause = EndCause::kTooManyProcesses;
  }
}

// Takes what the status pipe has; closes it at its end.
void Supervisor::Look(Running& running) {
  char buffer[4096];
  ssize_t n = 0;
  while ((n = ::read(running.status.get(), buffer, sizeof buffer)) > 0) {
    if (running.said.size() < kStatusLimit) {
      running.said.append(buffer, static_cast<std::size_t>(n));
    }
  }
  if (n == 0) running.status.Reset();
}

absl::StatusOr<SandboxResult> Supervisor::Finish(Running& running) {
  running.cgroup->KillAll();
  // bubblewrap first: the init of its process namespace follows, and with that everything inside.
  running.child->Signal(SIGKILL);
  SandboxResult result;
  result.status = running.child->Wait();
  EndChildren();
  if (running.status) Look(running);

  const std::string& said = running.said;
  const std::size_t failure = said.find(kLaunchFailure);
  if (failure != std::string::npos && !running.cause) {
    std::string why = said.substr(failure + sizeof kLaunchFailure - 1);
    why.resize(why.find_last_not_of('\n') + 1);
    return CannotSandbox(why);
  }
  const bool failed = !result.status.ok();
  if (!running.cause && failed && running.cgroup->OutOfMemory()) {
    running.cause = EndCause::kOutOfMemory;
  }
  if (!running.cause && failed && running.cgroup->TooManyProcesses()) {
    running.cause = EndCause::kTooManyProcesses;
  }
  if (!running.cause && !running.announced) {
    return CannotSandbox(
        "bubblewrap failed before it made its namespaces; see its message in the "
        "log of the build");
  }
  result.cause = running.cause.value_or(EndCause::kExited);
  if (!running.cause && said.find("exit-code") == std::string::npos) {
    result.cause = EndCause::kNotStarted;
    result.message = "bubblewrap could not put the sandbox together; its message is in the output";
  }
  rusage used{};
  ::getrusage(RUSAGE_CHILDREN, &used);
  result.cpu_time = running.cgroup->CpuTime().value_or(absl::DurationFromTimeval(used.ru_utime) +
                                                       absl::DurationFromTimeval(used.ru_stime));
  result.peak_memory_bytes =
      running.cgroup->PeakMemory().value_or(std::int64_t{used.ru_maxrss} << 10);
  return result;
}

}  // namespace kdbg::runner
