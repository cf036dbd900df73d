// What workspaces may take on the disk: those that nobody has used for long go, and, when all
// together take too much room, those that nobody has used for longest. With the last workspace of
// an owner goes their compiler cache.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/source/workspace.h"

namespace kdbg::source {

struct WorkspacePolicy {
  absl::Duration age = absl::Hours(336);
  std::int64_t limit_bytes = 0;  // of all work trees and build directories; 0: no limit
  // Longer than a build may take, for as long as which a workspace may grow after its last use
  // began.
  absl::Duration grace = absl::Hours(3);
};

// Not thread-safe.
class WorkspaceBudget {
 public:
  WorkspaceBudget(Workspaces& workspaces, const Clock& clock, const WorkspacePolicy& policy)
      : workspaces_(workspaces), clock_(clock), policy_(policy) {}

  // What is in use stays. Looks at every file of each workspace that may have changed since.
  // CANCELLED after `stop`.
  absl::Status Keep(const std::stop_token& stop);

 private:
  struct Size {
    absl::Time measured;
    std::int64_t bytes = 0;
  };
  absl::StatusOr<Size> SizeOf(const WorkspaceRecord& workspace, const std::stop_token& stop) const;

  Workspaces& workspaces_;
  const Clock& clock_;
  const WorkspacePolicy policy_;
  std::map<std::string, Size> sizes_;  // by id, as measured last
};

// For a disk that is nearly full: workspaces are only what can be made again, so those that nobody
// has used for longest go, one by one, until there is `enough` or none is left that may go.
// Thread-safe.
absl::Status MakeRoom(Workspaces& workspaces, const std::function<absl::StatusOr<bool>()>& enough);

}  // namespace kdbg::source
