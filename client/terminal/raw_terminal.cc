#include "client/terminal/raw_terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "proto/support/errno_status.h"

namespace kdbg::client {
namespace {

// Globals because a crash handler can reach nothing else.
std::atomic<int> raw_fd{-1};
termios saved;

void RestoreAndDie(int number) {
  RestoreTerminal();
  ::raise(number);  // the handler is one-shot: this one is the default's
}

}  // namespace

void RestoreTerminal() {
  const int fd = raw_fd.exchange(-1);
  if (fd >= 0) ::tcsetattr(fd, TCSANOW, &saved);
}

absl::StatusOr<RawTerminal> RawTerminal::Enter(int fd) {
  if (::tcgetattr(fd, &saved) != 0) {
    return absl::FailedPreconditionError("standard input is no terminal");
  }
  raw_fd = fd;
  struct sigaction crash = {};
  crash.sa_handler = RestoreAndDie;
  crash.sa_flags = SA_RESETHAND | SA_NODEFER;
  for (int number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) {
    ::sigaction(number, &crash, nullptr);
  }
  termios raw = saved;
  ::cfmakeraw(&raw);
  if (::tcsetattr(fd, TCSANOW, &raw) != 0) return ErrnoError(errno, "set the terminal raw");
  return RawTerminal();
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : active_(std::exchange(other.active_, false)) {}

RawTerminal::~RawTerminal() {
  if (active_) RestoreTerminal();
}

std::optional<TerminalSize> SizeOfTerminal(int fd) {
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return TerminalSize{.columns = size.ws_col, .rows = size.ws_row};
}

}  // namespace kdbg::client
