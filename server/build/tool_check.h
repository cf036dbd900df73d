// Whether this host can still build: a sandbox can be had, and the compiler cache runs in it.
//
// Thread-safe. Look runs a command and blocks; the answers are those of the last look.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/host/identity.h"
#include "server/host/sandbox.h"

namespace kdbg::build {

class ToolCheck {
 public:
  // Whom the command runs as, as for builds; `runner` outlives it.
  using RunAs = std::function<absl::StatusOr<std::optional<host::Identity>>()>;
  ToolCheck(host::SandboxRunner& runner, RunAs run_as)
      : runner_(runner), run_as_(std::move(run_as)) {}

  void Look();

  absl::Status sandbox() const;
  absl::Status compile_cache() const;  // OK also when no sandbox can be had to try it in

 private:
  host::SandboxRunner& runner_;
  const RunAs run_as_;
  mutable absl::Mutex mutex_;
  absl::Status sandbox_ ABSL_GUARDED_BY(mutex_);
  absl::Status compile_cache_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::build
