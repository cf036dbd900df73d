#include "server/runner/serve.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <utility>
#include <vector>

#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"

namespace kdbg::runner {
namespace {

constexpr std::size_t kMostCommands = 256;
constexpr int kConnectionFd = 3;
constexpr std::chrono::seconds kGoodbye{3};

class Server {
 public:
  Server(Options options, UniqueFd signals)
      : options_(std::move(options)), signals_(std::move(signals)) {}

  void Run() {
    while (Step()) {
    }
    for (const Subprocess& each : supervisors_) each.Signal(SIGTERM);
    for (Subprocess& each : supervisors_) each.WaitFor(kGoodbye);
    supervisors_.clear();  // kills those that are left; what they run follows
  }

 private:
  // False when it is time to go.
  bool Step() {
    // A poll ignores an entry of -1: no lifeline under systemd.
    std::vector<pollfd> waiting{
        {.fd = signals_.get(), .events = POLLIN, .revents = 0},
        {.fd = options_.lifeline_fd, .events = POLLIN, .revents = 0},
        {.fd = supervisors_.size() < kMostCommands ? options_.listen_fd : -1,
         .events = POLLIN,
         .revents = 0}};
    const std::size_t fixed = waiting.size();
    for (const Subprocess& each : supervisors_) {
      waiting.push_back({.fd = each.pidfd(), .events = POLLIN, .revents = 0});
    }
    if (::poll(waiting.data(), waiting.size(), -1) < 0) return errno == EINTR;
    if (waiting[0].revents != 0 || waiting[1].revents != 0) return false;
    for (std::size_t i = supervisors_.size(); i-- > 0;) {
      if (waiting[fixed + i].revents != 0) supervisors_.erase(supervisors_.begin() + i);
    }
    if (waiting[2].revents != 0) Accept();
    return true;
  }

  void Accept() {
    const UniqueFd connection(::accept4(options_.listen_fd, nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection || !MayAsk(connection.get())) return;
    Subprocess::Options start;
    start.argv = {"/proc/self/exe"};
    for (std::string& each : SupervisorArguments(options_, kConnectionFd)) {
      start.argv.push_back(std::move(each));
    }
    start.descriptors = {{STDERR_FILENO, STDERR_FILENO}, {kConnectionFd, connection.get()}};
    absl::StatusOr<Subprocess> supervisor = Subprocess::Start(start);
    if (!supervisor.ok()) {
      fmt::print(stderr, "kdbg-runner: {}\n", supervisor.status().ToString());
      return;
    }
    supervisors_.push_back(*std::move(supervisor));
  }

  bool MayAsk(int connection) const {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    if (peer.uid == 0 || peer.uid == options_.client_uid) return true;
    fmt::print(stderr, "kdbg-runner: refused uid {} (pid {})\n", peer.uid, peer.pid);
    return false;
  }

  const Options options_;
  const UniqueFd signals_;
  std::vector<Subprocess> supervisors_;
};

}  // namespace

int Serve(Options options) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  UniqueFd signals(::signalfd(-1, &ends, SFD_CLOEXEC));
  if (!signals) return 1;
  for (int fd : {options.listen_fd, options.lifeline_fd}) {
    if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  options.cgroups = host::CgroupHome::Find();
  Server(std::move(options), std::move(signals)).Run();
  return 0;
}

}  // namespace kdbg::runner
