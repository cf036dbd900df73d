// Which artifacts go by themselves: those that nobody has used for long, and, when all together
// take too much room, those that nobody has used for longest.
//
// Kept whatever the policy says: what somebody or some session has pinned, the newest of each name
// of an owner, and what was used within the grace.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/store/artifact_store.h"

namespace kdbg::store {

struct RetentionPolicy {
  absl::Duration age = absl::Hours(720);
  std::int64_t limit_bytes = 0;  // of all artifacts together, equal files once; 0: no limit
  // Longer than a build may take, which may use what an artifact of others holds.
  absl::Duration grace = absl::Hours(3);
};

enum class RemovalCause { kUnused, kRoom };

struct Removal {
  Artifact artifact;
  RemovalCause cause = RemovalCause::kUnused;
  std::int64_t freed_bytes = 0;  // of files that nothing else has, once those before it are gone
};

// Least recently used first. Pure.
std::vector<Removal> PlanRemovals(std::vector<Artifact> artifacts, const RetentionPolicy& policy,
                                  absl::Time now);

// Thread-safe; blocks for the database.
class Retention {
 public:
  Retention(ArtifactStore& artifacts, const Clock& clock, const RetentionPolicy& policy)
      : artifacts_(artifacts), clock_(clock), policy_(policy) {}

  struct Request {
    std::optional<std::string> owner = std::nullopt;   // absent: everybody's, and the room limit
    std::optional<absl::Duration> age = std::nullopt;  // instead of the policy's, without a grace
  };
  // What Run would remove now.
  absl::StatusOr<std::vector<Removal>> Plan(const Request& request) const;
  // What it has removed; one that is pinned or used meanwhile stays. The bytes go with
  // ArtifactStore::CollectGarbage.
  absl::StatusOr<std::vector<Removal>> Run(const Request& request, const std::stop_token& stop);

 private:
  ArtifactStore& artifacts_;
  const Clock& clock_;
  const RetentionPolicy policy_;
};

}  // namespace kdbg::store
