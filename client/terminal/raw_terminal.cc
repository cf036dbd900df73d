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
std::atomic<bool> drawn_on{false};
std::atomic<bool> in_alternate_screen{false};

constexpr char kLeaveAlternate[] = "\x1b[?1049l";
// No attributes, a cursor, plain keys.
constexpr char kPlain[] = "\x1b[0m\x1b[?25h\x1b[?1l\x1b>";

void Say(const char* sequence, std::size_t size) {
  [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, sequence, size);
}

void RestoreAndDie(int number) {
  RestoreTerminal();
  ::raise(number);  // the handler is one-shot: this one is the default's
}

}  // namespace

void RestoreTerminal() {
  const int fd = raw_fd.exchange(-1);
  if (fd < 0) return;
  if (in_alternate_screen) Say(kLeaveAlternate, sizeof kLeaveAlternate - 1);
  if (drawn_on) Say(kPlain, sizeof kPlain - 1);
  ::tcsetattr(fd, TCSANOW, &saved);
}

absl::StatusOr<RawTerminal> RawTerminal::Enter(int fd) {
  if (::tcgetattr(fd, &saved) != 0) {
    return absl::FailedPreconditionError("standard input is no terminal");
  }
  raw_fd = fd;
  drawn_on = false;
  in_alternate_screen = false;
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

void RawTerminal::Watch(std::string_view written) {
  screen_.Feed(written);
  drawn_on = screen_.drawn_on();
  in_alternate_screen = screen_.in_alternate_screen();
}

RawTerminal::RawTerminal(RawTerminal&& other) noexcept
    : active_(std::exchange(other.active_, false)), screen_(std::move(other.screen_)) {}

RawTerminal::~RawTerminal() {
  if (active_) RestoreTerminal();
}

std::optional<TerminalSize> SizeOfTerminal(int fd) {
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return TerminalSize{.columns = size.ws_col, .rows = size.ws_row};
}

}  // namespace kdbg::client
