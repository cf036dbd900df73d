// A SandboxRunner that runs nothing: it plays the results a test gives it, in order, and remembers
// what was asked.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/support/unique_fd.h"
#include "server/host/sandbox.h"

namespace kdbg::host {

// A program's end of its terminal.
class FakeTerminalProgram {
 public:
  FakeTerminalProgram(Sandbox sandbox, UniqueFd terminal);

  const Sandbox& sandbox() const { return sandbox_; }
  int terminal() const { return terminal_.get(); }
  void Print(std::string_view text) const;
  // Whatever was typed; nullopt when the sandbox was cancelled or the terminal has gone.
  std::optional<std::string> Read() const;
  void Cancel() const;

 private:
  const Sandbox sandbox_;
  const UniqueFd terminal_;
  const UniqueFd cancelled_;
};

class FakeSandboxRunner : public SandboxRunner {
 public:
  struct Script {
    std::string output = {};       // written to the stdout descriptor
    std::string error = {};        // written to the stderr descriptor
    SandboxResult result = {};     // what Wait() answers
    bool until_cancelled = false;  // Wait() blocks until Cancel() and then answers kCancelled
    // Called in Start with what was asked, to leave files in the binds as the command would have.
    std::function<void(const Sandbox&)> effect = {};
    // Plays a program that people type at, on a thread of its own; its exit code.
    std::function<int(FakeTerminalProgram&)> program = {};
  };

  // The next Start plays this. With none left, a command exits 0 and prints nothing.
  void Expect(Script script);
  // Every Start fails with this until it is set to OK again.
  void FailStarts(absl::Status status);
  void SetAbility(SandboxAbility ability);
  std::vector<Sandbox> started() const;
  // The host path that `inside` shows ("/build/vmlinux"); empty when no bind covers it.
  static std::filesystem::path HostPath(const Sandbox& sandbox, std::string_view inside);

  absl::StatusOr<std::unique_ptr<SandboxRun>> Start(const Sandbox& sandbox, int stdin_fd,
                                                    int stdout_fd, int stderr_fd) override;
  SandboxAbility Probe() override;

 private:
  mutable absl::Mutex mutex_;
  std::deque<Script> scripts_ ABSL_GUARDED_BY(mutex_);
  absl::Status start_status_ ABSL_GUARDED_BY(mutex_);
  SandboxAbility ability_ ABSL_GUARDED_BY(mutex_){.usable = true, .reason = {}, .limits = {}};
  std::vector<Sandbox> started_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::host
