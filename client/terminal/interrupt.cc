#include "client/terminal/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "client/terminal/raw_terminal.h"

namespace kdbg::client {
namespace {

constexpr int kExitInterrupted = 130;

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t set = Watched();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_.Reset(::signalfd(-1, &set, SFD_CLOEXEC));
  stop_.Reset(::eventfd(0, EFD_CLOEXEC));
  thread_ = std::thread([this] { Run(); });
}

Interrupt::~Interrupt() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void Interrupt::Run() {
  for (;;) {
    pollfd waiting[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                        {.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    if (::poll(waiting, 2, -1) < 0) continue;
    if (waiting[1].revents != 0) return;
    signalfd_siginfo info;
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) continue;
    absl::MutexLock lock(&mutex_);
    if (std::exchange(fired_, true) || !on_signal_) {
      RestoreTerminal();
      ::_exit(kExitInterrupted);
    }
    on_signal_();
  }
}

Interrupt::Scope::Scope(Interrupt& interrupt, std::function<void()> on_signal)
    : interrupt_(interrupt) {
  absl::MutexLock lock(&interrupt_.mutex_);
  outer_ = std::exchange(interrupt_.on_signal_, std::move(on_signal));
  outer_fired_ = std::exchange(interrupt_.fired_, false);
}

Interrupt::Scope::~Scope() {
  absl::MutexLock lock(&interrupt_.mutex_);
  interrupt_.on_signal_ = std::move(outer_);
  interrupt_.fired_ = outer_fired_;
}

bool Interrupt::Scope::fired() const {
  absl::MutexLock lock(&interrupt_.mutex_);
  return interrupt_.fired_;
}

void Interrupt::RestoreDefaults() {
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace kdbg::client
