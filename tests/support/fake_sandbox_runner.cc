#include "tests/support/fake_sandbox_runner.h"

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

}  // namespace

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
                                                                     int /*stdin_fd*/,
                                                                     int stdout_fd, int stderr_fd) {
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
  return std::make_unique<FakeRun>(std::move(script.result), script.until_cancelled);
}

SandboxAbility FakeSandboxRunner::Probe() {
  absl::MutexLock lock(&mutex_);
  return ability_;
}

}  // namespace kdbg::host
