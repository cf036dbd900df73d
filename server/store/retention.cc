#include "server/store/retention.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::store {
namespace {

// How many artifacts have each file, and what all files take.
class Room {
 public:
  explicit Room(const std::vector<Artifact>& artifacts) {
    for (const Artifact& artifact : artifacts) {
      for (const std::string& digest : Digests(artifact)) ++users_[digest];
      for (const ArtifactFile& file : artifact.files) sizes_[file.digest] = file.size_bytes;
    }
    for (const auto& [digest, size] : sizes_) bytes_ += size;
  }

  std::int64_t bytes() const { return bytes_; }
  std::int64_t Remove(const Artifact& artifact) {
    std::int64_t freed = 0;
    for (const std::string& digest : Digests(artifact)) {
      if (--users_[digest] == 0) freed += sizes_[digest];
    }
    bytes_ -= freed;
    return freed;
  }

 private:
  static std::set<std::string> Digests(const Artifact& artifact) {
    std::set<std::string> digests;
    for (const ArtifactFile& file : artifact.files) digests.insert(file.digest);
    return digests;
  }

  std::map<std::string, int> users_;
  std::map<std::string, std::int64_t> sizes_;
  std::int64_t bytes_ = 0;
};

using Name = std::tuple<std::string, ArtifactKind, std::string, std::string>;

Name NameOf(const Artifact& artifact) {
  return {artifact.owner, artifact.kind, artifact.architecture, artifact.display_name};
}

}  // namespace

std::vector<Removal> PlanRemovals(std::vector<Artifact> artifacts, const RetentionPolicy& policy,
                                  absl::Time now) {
  Room room(artifacts);
  std::map<Name, std::int64_t> newest;  // sequence
  for (const Artifact& artifact : artifacts) {
    if (artifact.display_name.empty()) continue;
    std::int64_t& sequence = newest[NameOf(artifact)];
    sequence = std::max(sequence, artifact.sequence);
  }
  std::erase_if(artifacts, [&](const Artifact& artifact) {
    if (!artifact.pins.empty() || artifact.last_used_time > now - policy.grace) return true;
    const auto named = newest.find(NameOf(artifact));
    return named != newest.end() && named->second == artifact.sequence;
  });
  std::ranges::sort(artifacts, {}, [](const Artifact& artifact) {
    return std::pair(artifact.last_used_time, artifact.sequence);
  });
  std::vector<Removal> removals;
  for (Artifact& artifact : artifacts) {
    const bool unused = artifact.last_used_time <= now - policy.age;
    const bool too_much = policy.limit_bytes > 0 && room.bytes() > policy.limit_bytes;
    if (!unused && !too_much) break;
    const std::int64_t freed = room.Remove(artifact);
    removals.push_back({.artifact = std::move(artifact),
                        .cause = unused ? RemovalCause::kUnused : RemovalCause::kRoom,
                        .freed_bytes = freed});
  }
  return removals;
}

absl::StatusOr<std::vector<Removal>> Retention::Plan(const Request& request) const {
  KDBG_ASSIGN_OR_RETURN(std::vector<Artifact> artifacts,
                        artifacts_.List({.owner = request.owner, .limit = -1}));
  RetentionPolicy policy = policy_;
  if (request.owner) policy.limit_bytes = 0;
  if (request.age) {
    policy.age = *request.age;
    policy.grace = absl::ZeroDuration();
  }
  return PlanRemovals(std::move(artifacts), policy, clock_.Now());
}

absl::StatusOr<std::vector<Removal>> Retention::Run(const Request& request,
                                                    const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(std::vector<Removal> planned, Plan(request));
  std::vector<Removal> removed;
  for (Removal& removal : planned) {
    if (stop.stop_requested()) break;
    const Artifact& artifact = removal.artifact;
    KDBG_ASSIGN_OR_RETURN(const bool gone,
                          artifacts_.DeleteUnused(artifact.id, artifact.last_used_time));
    if (!gone) continue;
    spdlog::info("artifacts/{} of {} is removed: {}", artifact.id, artifact.owner,
                 removal.cause == RemovalCause::kUnused ? "unused for long" : "for room");
    removed.push_back(std::move(removal));
  }
  return removed;
}

}  // namespace kdbg::store
