// Keeps what everybody profits from up to date: the service's own clean builds of every trusted
// tree, which fill the shared compiler cache, become seeds of new workspaces and answer anybody's
// request for the same.
//
// Thread-safe; calls block for the disk, not for builds.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/build/builds.h"
#include "server/source/trusted_sources.h"

namespace kdbg::build {

struct TrustedBuildSettings {
  std::vector<std::string> kernel_configs = {"tiny"};  // base configs each kernel is built with
};

class TrustedBuilds {
 public:
  TrustedBuilds(Builds& builds, const source::TrustedSources& sources,
                TrustedBuildSettings settings)
      : builds_(builds), sources_(sources), settings_(std::move(settings)) {}

  // Queues the builds that are missing; what is made already, or being made, costs a look. A build
  // that failed for the tree's own reasons is not tried again.
  absl::Status KeepUp();

 private:
  absl::Status Ensure(const source::SourceRecord& source, BuildRequest request);

  Builds& builds_;
  const source::TrustedSources& sources_;
  const TrustedBuildSettings settings_;
  absl::Mutex one_at_a_time_;
};

}  // namespace kdbg::build
