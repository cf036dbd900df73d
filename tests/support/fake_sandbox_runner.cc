#include "tests/support/fake_sandbox_runner.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <thread>
#include <utility>

#include "proto/support/file.h"

namespace kdbg::host {
namespace {

class FakeRun : public SandboxRun {
 public:
  FakeRun(SandboxResult result, bool until_cancelled)
      : result_(std::move(result)), ended_(!until_cancelled) {}
  ~FakeRun() override {
    Cancel();
    Wait();
  }

  SandboxResult Wait() override {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&ended_));
    return result_;
  }

  void Cancel() override {
    absl::MutexLock lock(&mutex_);
    if (ended_) return;
    result_.cause = EndCause::kCancelled;
    ended_ = true;
  }

 private:
  absl::Mutex mutex_;
  SandboxResult result_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_);
};

class FakeProgramRun : public SandboxRun {
 public:
  FakeProgramRun(std::function<int(FakeTerminalProgram&)> program,
                 std::unique_ptr<FakeTerminalProgram> terminal)
      : terminal_(std::move(terminal)), thread_([this, program = std::move(program)] {
          result_.status.code = program(*terminal_);
          // Its end of the terminal, and with that the terminal, closes.
          absl::MutexLock lock(&mutex_);
          terminal_.reset();
        }) {}
  ~FakeProgramRun() override {
    Cancel();
    Wait();
  }

  SandboxResult Wait() override {
    if (thread_.joinable()) thread_.join();
    return result_;
  }

  void Cancel() override {
    absl::MutexLock lock(&mutex_);
    if (!terminal_) return;
    result_.cause = EndCause::kCancelled;
    terminal_->Cancel();
  }

 private:
  absl::Mutex mutex_;
  SandboxResult result_;
  std::unique_ptr<FakeTerminalProgram> terminal_;
  std::thread thread_;
};

}  // namespace

FakeTerminalProgram::FakeTerminalProgram(Sandbox sandbox, UniqueFd terminal)
    : sandbox_(std::move(sandbox)),
      terminal_(std::move(terminal)),
      cancelled_(::eventfd(0, EFD_CLOEXEC)) {
  termios settings = {};
  ::tcgetattr(terminal_.get(), &settings);
  ::cfmakeraw(&settings);
  ::tcsetattr(terminal_.get(), TCSANOW, &settings);
}

void FakeTerminalProgram::Print(std::string_view text) const {
  WriteAll(terminal_.get(), text).IgnoreError();
}

std::optional<std::string> FakeTerminalProgram::Read() const {
  pollfd waiting[] = {{.fd = terminal_.get(), .events = POLLIN, .revents = 0},
                      {.fd = cancelled_.get(), .events = POLLIN, .revents = 0}};
  while (::poll(waiting, 2, -1) < 0) {
  }
  if (waiting[1].revents != 0) return std::nullopt;
  char buffer[4096];
  const ssize_t got = ::read(terminal_.get(), buffer, sizeof buffer);
  if (got <= 0) return std::nullopt;
  return std::string(buffer, static_cast<std::size_t>(got));
}

void FakeTerminalProgram::Cancel() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(cancelled_.get(), &one, sizeof one);
}

void FakeSandboxRunner::Expect(Script script) {
  absl::MutexLock lock(&mutex_);
  scripts_.push_back(std::move(script));
}

void FakeSandboxRunner::FailStarts(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  start_status_ = std::move(status);
}

void FakeSandboxRunner::SetAbility(SandboxAbility ability) {
  absl::MutexLock lock(&mutex_);
  ability_ = std::move(ability);
}

std::vector<Sandbox> FakeSandboxRunner::started() const {
  absl::MutexLock lock(&mutex_);
  return started_;
}

std::filesystem::path FakeSandboxRunner::HostPath(const Sandbox& sandbox, std::string_view inside) {
  for (const Bind& bind : sandbox.binds) {
    if (inside == bind.inside) return bind.host;
    if (inside.starts_with(bind.inside + "/")) {
      return bind.host / inside.substr(bind.inside.size() + 1);
    }
  }
  return {};
}

absl::StatusOr<std::unique_ptr<SandboxRun>> FakeSandboxRunner::Start(const Sandbox& sandbox,
                                                                     int stdin_fd, int stdout_fd,
                                                                     int stderr_fd) {
  Script script;
  {
    absl::MutexLock lock(&mutex_);
    if (!start_status_.ok()) return start_status_;
    started_.push_back(sandbox);
    if (!scripts_.empty()) {
      script = std::move(scripts_.front());
      scripts_.pop_front();
    }
  }
  if (script.effect) script.effect(sandbox);
  if (stdout_fd >= 0) WriteAll(stdout_fd, script.output).IgnoreError();
  if (stderr_fd >= 0) WriteAll(stderr_fd, script.error).IgnoreError();
  if (script.program) {
    return std::make_unique<FakeProgramRun>(
        std::move(script.program), std::make_unique<FakeTerminalProgram>(
                                       sandbox, UniqueFd(::fcntl(stdin_fd, F_DUPFD_CLOEXEC, 0))));
  }
  return std::make_unique<FakeRun>(std::move(script.result), script.until_cancelled);
}

SandboxAbility FakeSandboxRunner::Probe() {
  absl::MutexLock lock(&mutex_);
  return ability_;
}

}  // namespace kdbg::host
