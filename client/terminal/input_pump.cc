#include "client/terminal/input_pump.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace kdbg::client {

StopSignal::StopSignal() : fd_(::eventfd(0, EFD_CLOEXEC)) {}

void StopSignal::Set() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(fd_.get(), &one, sizeof one);
}

PumpEnd PumpInput(int fd, const StopSignal& stop,
                  const std::function<bool(std::string_view)>& consume) {
  char buffer[32768];
  for (;;) {
    pollfd waiting[] = {{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                        {.fd = fd, .events = POLLIN, .revents = 0}};
    if (::poll(waiting, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return PumpEnd::kEndOfInput;
    }
    if (waiting[0].revents != 0) return PumpEnd::kStopped;
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return PumpEnd::kEndOfInput;
    if (!consume(std::string_view(buffer, static_cast<std::size_t>(n)))) {
      return PumpEnd::kConsumerDone;
    }
  }
}

}  // namespace kdbg::client
