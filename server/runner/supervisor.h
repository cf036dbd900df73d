// Runs one command after the other in sandboxes, watches limits, and ends them: everything that
// descends from a command becomes this process's child at the latest when its parent dies, so "no
// child left" means that nothing is left.
//
// Owned by a process with one thread: the deaths of parents that bubblewrap waits for are those of
// threads.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/host/cgroup.h"
#include "server/host/sandbox.h"
#include "server/runner/options.h"
#include "server/runner/policy.h"

namespace kdbg::runner {

class Supervisor {
 public:
  // `connection` ends the command when its other end closes; -1 for none.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(const Options& options, int connection);

  // `started` is called once the command's namespaces exist. A status means that it never came to
  // that: FAILED_PRECONDITION when this host cannot sandbox.
  absl::StatusOr<host::SandboxResult> Run(const host::Sandbox& sandbox,
                                          const std::array<int, 3>& standard,
                                          const std::function<void()>& started);

  const Policy& policy() const { return policy_; }

 private:
  struct Running;
  Supervisor(const Options& options, int connection, UniqueFd signals);

  absl::Status Begin(const host::Sandbox& sandbox, const std::array<int, 3>& standard,
                     Running& running);
  absl::StatusOr<std::string> LaunchOrderFor(const host::Sandbox& sandbox, const Running& running);
  void Watch(Running& running, const std::function<void()>& started);
  void Look(Running& running);
  absl::StatusOr<host::SandboxResult> Finish(Running& running);

  const Options options_;
  const Policy policy_;
  const int connection_;
  const UniqueFd signals_;
  int runs_ = 0;
};

}  // namespace kdbg::runner
