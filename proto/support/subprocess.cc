#include "proto/support/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

extern char** environ;

namespace kdbg {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// posix_spawn takes its orders in two C structs; this owns both.
struct SpawnOrders {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnOrders() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnOrders() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnOrders(const SpawnOrders&) = delete;
  SpawnOrders& operator=(const SpawnOrders&) = delete;
};

void ResetSignals(posix_spawnattr_t* attributes) {
  sigset_t none;
  sigset_t defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&defaults, number);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &defaults);
  posix_spawnattr_setpgroup(attributes, 0);
  posix_spawnattr_setflags(attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

}  // namespace

std::string ExitStatus::Describe() const {
  if (signal == 0) return fmt::format("exit status {}", code);
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? fmt::format("killed by SIG{}", name)
                         : fmt::format("killed by signal {}", signal);
}

absl::StatusOr<Subprocess> Subprocess::Start(const Options& options) {
  SpawnOrders orders;
  ResetSignals(&orders.attributes);
  // Sources first go above every target number, so that no dup2 overwrites one still needed.
  std::vector<UniqueFd> parked;
  int highest = 2;
  for (const auto& [target, source] : options.descriptors) highest = std::max(highest, target);
  std::vector<bool> standard(3, false);
  for (const auto& [target, source] : options.descriptors) {
    parked.emplace_back(::fcntl(source, F_DUPFD_CLOEXEC, highest + 1));
    if (!parked.back()) return ErrnoError(errno, "dup");
    posix_spawn_file_actions_adddup2(&orders.actions, parked.back().get(), target);
    if (target <= 2) standard[static_cast<std::size_t>(target)] = true;
  }
  for (int fd = 0; fd <= 2; ++fd) {
    if (!standard[static_cast<std::size_t>(fd)]) {
      posix_spawn_file_actions_addopen(&orders.actions, fd, "/dev/null", O_RDWR, 0);
    }
  }
  if (!options.working_directory.empty()) {
    posix_spawn_file_actions_addchdir_np(&orders.actions, options.working_directory.c_str());
  }
  std::vector<char*> argv = Pointers(options.argv);
  std::vector<char*> environment =
      options.environment ? Pointers(*options.environment) : std::vector<char*>{};
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, argv[0], &orders.actions, &orders.attributes, argv.data(),
                                   options.environment ? environment.data() : environ);
  if (error != 0) return ErrnoError(error, "start " + options.argv.front());
  Subprocess child;
  child.pid_ = pid;
  // No race: the pid stays ours until it is waited for.
  child.pidfd_.Reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!child.pidfd_) return ErrnoError(errno, "pidfd_open");
  return child;
}

Subprocess::Subprocess(Subprocess&& other) noexcept { *this = std::move(other); }

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(status_, other.status_);
  return *this;
}

Subprocess::~Subprocess() {
  if (pid_ < 0 || status_) return;
  Signal(SIGKILL);
  Wait();
}

void Subprocess::Leave() { pid_ = -1; }

void Subprocess::Signal(int signal_number) const {
  if (pid_ > 0 && !status_) ::kill(-pid_, signal_number);
}

std::optional<ExitStatus> Subprocess::WaitFor(std::chrono::milliseconds timeout) {
  if (status_) return status_;
  pollfd waiting{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    const int n = ::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (n > 0) return Wait();
    if (n == 0) return std::nullopt;
    if (errno != EINTR) return std::nullopt;
  }
}

ExitStatus Subprocess::Wait() {
  if (status_) return *status_;
  int raw = 0;
  while (::waitpid(pid_, &raw, 0) < 0 && errno == EINTR) {
  }
  ExitStatus status;
  if (WIFSIGNALED(raw)) {
    status.signal = WTERMSIG(raw);
  } else {
    status.code = WEXITSTATUS(raw);
  }
  status_ = status;
  return status;
}

namespace {

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  return Pipe{.read_end = UniqueFd(fds[0]), .write_end = UniqueFd(fds[1])};
}

bool IsConnected(const Subprocess::Options& options, int target) {
  return std::any_of(options.descriptors.begin(), options.descriptors.end(),
                     [&](const auto& descriptor) { return descriptor.first == target; });
}

// Reads once; closes `fd` at the end of the stream.
void Collect(UniqueFd& fd, std::string& into, std::size_t max_output) {
  char buffer[65536];
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  if (n > 0) {
    into.append(buffer, std::min(static_cast<std::size_t>(n),
                                 max_output - std::min(max_output, into.size())));
  } else if (n == 0 || errno != EINTR) {
    fd.Reset();
  }
}

void Feed(UniqueFd& fd, std::string_view& input) {
  const ssize_t n = ::write(fd.get(), input.data(), std::min(input.size(), std::size_t{65536}));
  if (n > 0) input.remove_prefix(static_cast<std::size_t>(n));
  if (input.empty() || (n < 0 && errno != EINTR && errno != EAGAIN)) fd.Reset();
}

}  // namespace

absl::StatusOr<CommandResult> RunCommand(Subprocess::Options options, std::string input,
                                         std::chrono::milliseconds timeout, std::size_t max_output,
                                         std::stop_token stop) {
  Pipe in;
  Pipe out;
  Pipe err;
  const std::pair<int, Pipe*> pipes[] = {{0, &in}, {1, &out}, {2, &err}};
  for (const auto& [target, pipe] : pipes) {
    if (IsConnected(options, target)) continue;
    KDBG_ASSIGN_OR_RETURN(*pipe, MakePipe());
    options.descriptors.emplace_back(target,
                                     target == 0 ? pipe->read_end.get() : pipe->write_end.get());
  }
  const UniqueFd stopped(::eventfd(0, EFD_CLOEXEC));
  if (!stopped) return ErrnoError(errno, "eventfd");
  const std::stop_callback wake(stop, [&stopped] { ::eventfd_write(stopped.get(), 1); });
  KDBG_ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(options));
  in.read_end.Reset();
  out.write_end.Reset();
  err.write_end.Reset();
  if (in.write_end) ::fcntl(in.write_end.get(), F_SETFL, O_NONBLOCK);
  std::string_view unsent = input;
  if (unsent.empty()) in.write_end.Reset();

  CommandResult result;
  bool ended = false;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (out.read_end || err.read_end || !ended) {
    // The child's own end counts only once its pipes are at theirs.
    const bool at_end = !out.read_end && !err.read_end;
    pollfd waiting[] = {{.fd = out.read_end.get(), .events = POLLIN, .revents = 0},
                        {.fd = err.read_end.get(), .events = POLLIN, .revents = 0},
                        {.fd = in.write_end.get(), .events = POLLOUT, .revents = 0},
                        {.fd = stopped.get(), .events = POLLIN, .revents = 0},
                        {.fd = at_end ? child.pidfd() : -1, .events = POLLIN, .revents = 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      child.Signal(SIGKILL);
      return absl::DeadlineExceededError(
          fmt::format("{} took longer than {} s", options.argv.front(), timeout.count() / 1000));
    }
    const int wait = static_cast<int>(std::min<std::int64_t>(left.count(), INT_MAX));
    if (::poll(waiting, std::size(waiting), wait) < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, "poll");
    }
    if (waiting[3].revents != 0) {
      child.Signal(SIGKILL);
      return absl::CancelledError(fmt::format("{} was stopped", options.argv.front()));
    }
    if (waiting[0].revents != 0) Collect(out.read_end, result.output, max_output);
    if (waiting[1].revents != 0) Collect(err.read_end, result.error, max_output);
    if (waiting[2].revents != 0) Feed(in.write_end, unsent);
    ended = waiting[4].revents != 0;
  }
  result.status = child.Wait();
  return result;
}

}  // namespace kdbg
