#include "client/terminal/input_pump.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace kdbg::client {
namespace {

// A global because a signal's handler can reach nothing else.
std::atomic<int> resize_fd{-1};

void Raise(int event_fd) {
  const int kept = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(event_fd, &one, sizeof one);
  errno = kept;
}

}  // namespace

StopSignal::StopSignal() : fd_(::eventfd(0, EFD_CLOEXEC)) {}

void StopSignal::Set() { Raise(fd_.get()); }

ResizeSignal::ResizeSignal() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  resize_fd = fd_.get();
  struct sigaction action = {};
  action.sa_handler = [](int) { Raise(resize_fd); };
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGWINCH, &action, nullptr);
}

ResizeSignal::~ResizeSignal() {
  ::signal(SIGWINCH, SIG_DFL);
  resize_fd = -1;
}

void ResizeSignal::Clear() const {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(fd_.get(), &count, sizeof count);
}

PumpEnd PumpInput(int fd, const StopSignal& stop,
                  const std::function<bool(std::string_view)>& consume, const AlsoWatch& also) {
  char buffer[32768];
  for (;;) {
    pollfd waiting[] = {{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                        {.fd = fd, .events = POLLIN, .revents = 0},
                        {.fd = also.fd, .events = POLLIN, .revents = 0}};
    if (::poll(waiting, 3, -1) < 0) {
      if (errno == EINTR) continue;
      return PumpEnd::kEndOfInput;
    }
    if (waiting[0].revents != 0) return PumpEnd::kStopped;
    if (waiting[2].revents != 0 && !also.readable()) return PumpEnd::kConsumerDone;
    if (waiting[1].revents == 0) continue;
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return PumpEnd::kEndOfInput;
    if (!consume(std::string_view(buffer, static_cast<std::size_t>(n)))) {
      return PumpEnd::kConsumerDone;
    }
  }
}

}  // namespace kdbg::client
