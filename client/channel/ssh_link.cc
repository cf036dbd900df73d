#include "client/channel/ssh_link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "absl/time/time.h"
#include "client/terminal/input_pump.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

constexpr std::size_t kKeptErrors = 4096;

std::vector<std::string> SshCommand(const SshAddress& address) {
  // ssh runs in a process group of its own and cannot ask on the terminal: better a clear "no" than
  // a silent stop.
  std::vector<std::string> argv = {"ssh", "-T", "-o", "BatchMode=yes"};
  if (!address.port.empty()) argv.insert(argv.end(), {"-p", address.port});
  argv.insert(argv.end(), {"--", address.host, "kdbgctl"});
  // ssh joins these with spaces for a remote shell.
  if (!address.socket.empty()) {
    std::string quoted;
    for (const char c : address.socket) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    argv.insert(argv.end(), {"--server", fmt::format("'unix:{}'", quoted)});
  }
  argv.push_back("dial-stdio");
  return argv;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SshLink>> SshLink::Open(const SshAddress& address) {
  int pair[2];
  int errors[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return ErrnoError(errno, "socketpair");
  }
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  if (::pipe2(errors, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd errors_read(errors[0]);
  UniqueFd errors_write(errors[1]);
  Subprocess::Options options;
  options.argv = SshCommand(address);
  options.descriptors = {{0, theirs.get()}, {1, theirs.get()}, {2, errors_write.get()}};
  KDBG_ASSIGN_OR_RETURN(Subprocess ssh, Subprocess::Start(options));
  ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
  std::unique_ptr<SshLink> link(new SshLink(std::move(ssh)));
  link->ours_ = std::move(ours);
  link->collector_ = std::thread(
      [self = link.get(), fd = errors_read.Release()] { self->CollectErrors(UniqueFd(fd)); });
  return link;
}

SshLink::~SshLink() {
  ours_.Reset();
  ssh_.Signal(SIGTERM);
  ssh_.Wait();
  collector_.join();
}

void SshLink::CollectErrors(UniqueFd errors) {
  char buffer[1024];
  for (;;) {
    const ssize_t n = ::read(errors.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    absl::MutexLock lock(&mutex_);
    if (n <= 0) {
      collected_ = true;
      return;
    }
    errors_.append(buffer, static_cast<std::size_t>(n));
    if (errors_.size() > kKeptErrors) errors_.erase(0, errors_.size() - kKeptErrors);
  }
}

std::string SshLink::Complaint() {
  const auto status = ssh_.WaitFor(std::chrono::seconds(2));
  absl::MutexLock lock(&mutex_);
  // Its last words may still be in the pipe. A process it left behind can hold that open.
  if (status) mutex_.AwaitWithTimeout(absl::Condition(&collected_), absl::Seconds(1));
  std::string complaint = errors_;
  while (!complaint.empty() && complaint.back() == '\n') complaint.pop_back();
  if (complaint.empty() && status) complaint = "ssh ended with " + status->Describe();
  return complaint;
}

absl::Status DialStdio(const std::filesystem::path& socket, int in_fd, int out_fd) {
  KDBG_ASSIGN_OR_RETURN(const int raw, ConnectUnix(socket));
  UniqueFd server(raw);
  StopSignal server_gone;
  std::thread from_server([&] {
    StopSignal never;
    PumpInput(server.get(), never,
              [&](std::string_view bytes) { return WriteAll(out_fd, bytes).ok(); });
    server_gone.Set();
  });
  PumpInput(in_fd, server_gone,
            [&](std::string_view bytes) { return WriteAll(server.get(), bytes).ok(); });
  // No more from the client: a gRPC connection has nothing to say to a peer that cannot ask.
  ::shutdown(server.get(), SHUT_RDWR);
  from_server.join();
  return absl::OkStatus();
}

}  // namespace kdbg::client
