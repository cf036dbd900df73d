#include "server/host/terminal_relay.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::host {
namespace {

// A few screens.
constexpr std::size_t kOutputLimit = std::size_t{64} << 10;
// poll takes an int of milliseconds.
constexpr absl::Duration kLongestWait = absl::Hours(24);

}  // namespace

absl::StatusOr<std::unique_ptr<TerminalRelay>> TerminalRelay::Create(
    TerminalSize size, const Clock& clock, std::function<void()> changed) {
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return ErrnoError(errno, "make an event descriptor");
  return std::unique_ptr<TerminalRelay>(
      new TerminalRelay(size, clock, std::move(wake), std::move(changed)));
}

TerminalRelay::TerminalRelay(TerminalSize size, const Clock& clock, UniqueFd wake,
                             std::function<void()> changed)
    : clock_(clock),
      wake_(std::move(wake)),
      changed_(std::move(changed)),
      size_(size),
      last_typed_(clock.Monotonic()) {}

void TerminalRelay::Wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

bool TerminalRelay::Type(std::string_view keys) {
  absl::MutexLock lock(&mutex_);
  last_typed_ = clock_.Monotonic();
  if (!keys_.empty()) return false;
  keys_ = keys;
  Wake();
  return true;
}

void TerminalRelay::Resize(TerminalSize size) {
  absl::MutexLock lock(&mutex_);
  size_ = size;
  resized_ = true;
  Wake();
}

std::string TerminalRelay::TakeOutput(std::size_t max_bytes) {
  absl::MutexLock lock(&mutex_);
  const bool was_full = output_.size() >= kOutputLimit;
  std::string taken = output_.substr(0, max_bytes);
  output_.erase(0, taken.size());
  if (was_full) Wake();
  return taken;
}

void TerminalRelay::Print(std::string_view text) {
  {
    absl::MutexLock lock(&mutex_);
    output_ += text;
  }
  changed_();
}

TerminalSize TerminalRelay::size() const {
  absl::MutexLock lock(&mutex_);
  return size_;
}

TerminalRelay::Turn TerminalRelay::NextTurn() {
  absl::MutexLock lock(&mutex_);
  Turn turn{.read = output_.size() < kOutputLimit,
            .write = !keys_.empty(),
            .resize = {},
            .idle = clock_.Monotonic() - last_typed_};
  if (std::exchange(resized_, false)) turn.resize = size_;
  return turn;
}

absl::StatusOr<TerminalRelay::End> TerminalRelay::Run(
    const Pty& pty, std::stop_token stop, absl::Duration idle_limit,
    const std::function<void(std::string_view)>& watch) {
  const std::stop_callback stopped(stop, [this] { Wake(); });
  while (true) {
    const Turn turn = NextTurn();
    if (stop.stop_requested()) return End::kStopped;
    if (turn.idle >= idle_limit) return End::kIdle;
    if (turn.resize) KDBG_RETURN_IF_ERROR(pty.Resize(*turn.resize));

    // Without interest in it the terminal is left out: poll would tell of its end over and over.
    pollfd waiting[] = {
        {.fd = wake_.get(), .events = POLLIN, .revents = 0},
        {.fd = turn.read || turn.write ? pty.fd() : -1,
         .events = static_cast<short>((turn.read ? POLLIN : 0) | (turn.write ? POLLOUT : 0)),
         .revents = 0}};
    const absl::Duration wait = std::min(idle_limit - turn.idle, kLongestWait);
    const int ready = ::poll(waiting, 2, static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, "poll a terminal");
    if (ready <= 0) continue;
    std::uint64_t wakes = 0;
    [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &wakes, sizeof wakes);
    const short happened = waiting[1].revents;
    if (turn.write && happened != 0) KDBG_RETURN_IF_ERROR(Write(pty));
    if (!turn.read || (happened & ~POLLOUT) == 0) continue;
    KDBG_ASSIGN_OR_RETURN(const bool more, Read(pty, watch));
    if (!more) return End::kClosed;
  }
}

absl::StatusOr<bool> TerminalRelay::Read(const Pty& pty,
                                         const std::function<void(std::string_view)>& watch) {
  char buffer[16384];
  const ssize_t got = ::read(pty.fd(), buffer, sizeof buffer);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got == 0 || (got < 0 && errno == EIO)) return false;
  if (got < 0) return ErrnoError(errno, "read from a terminal");
  const std::string_view bytes(buffer, static_cast<std::size_t>(got));
  watch(bytes);
  Print(bytes);
  return true;
}

absl::Status TerminalRelay::Write(const Pty& pty) {
  bool room = false;
  {
    absl::MutexLock lock(&mutex_);
    const ssize_t written = ::write(pty.fd(), keys_.data(), keys_.size());
    if (written < 0 && errno == EIO) {
      keys_.clear();  // nobody is there to read them
    } else if (written < 0 && errno != EAGAIN && errno != EINTR) {
      return ErrnoError(errno, "write to a terminal");
    } else if (written > 0) {
      keys_.erase(0, static_cast<std::size_t>(written));
    }
    room = keys_.empty();
  }
  if (room) changed_();
  return absl::OkStatus();
}

}  // namespace kdbg::host
