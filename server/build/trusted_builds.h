// Keeps what everybody profits from up to date: the service's own clean builds of every trusted
// tree, which fill the shared compiler cache, become seeds of new workspaces and answer anybody's
// request for the same. Takes all of it away from a tree that is trusted no longer.
//
// Thread-safe; calls block for the disk, not for builds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/build/builds.h"
#include "server/source/seed_store.h"
#include "server/source/trusted_sources.h"
#include "server/source/workspace.h"

namespace kdbg::build {

struct TrustedBuildSettings {
  std::vector<std::string> kernel_configs = {"tiny"};  // base configs each kernel is built with
  std::size_t most_seeds = 8;               // the least recently used go; each is gigabytes
  std::int64_t ccache_limit_mib = 5 << 10;  // beyond it the shared cache begins anew
};

class TrustedBuilds {
 public:
  TrustedBuilds(Builds& builds, const source::TrustedSources& sources, source::SeedStore& seeds,
                source::Workspaces& workspaces, TrustedBuildSettings settings)
      : builds_(builds),
        sources_(sources),
        seeds_(seeds),
        workspaces_(workspaces),
        settings_(std::move(settings)) {}

  // Queues the builds that are missing; what is made already, or being made, costs a look. A build
  // that failed for the tree's own reasons is not tried again.
  absl::Status KeepUp();

  // What was made of a source that is still trusted, but not needed any longer: its builds and
  // seeds go, what it brought into the compiler cache stays. The source is the caller's to delete.
  // ABORTED while somebody starts from a seed of it.
  absl::Status Retire(const source::SourceRecord& source);

 private:
  absl::StatusOr<std::vector<BuildRecord>> OwnBuilds() const;
  absl::Status Remove(const BuildRecord& build);
  absl::Status Ensure(const source::SourceRecord& source, BuildRequest request);
  // What was made of sources that are not among these goes.
  absl::Status Withdraw(const std::vector<source::SourceRecord>& trusted);
  absl::Status KeepWithinBounds();

  Builds& builds_;
  const source::TrustedSources& sources_;
  source::SeedStore& seeds_;
  source::Workspaces& workspaces_;
  const TrustedBuildSettings settings_;
  absl::Mutex one_at_a_time_;
};

}  // namespace kdbg::build
