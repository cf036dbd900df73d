// Branches of other repositories whose commits an admin trusts as they come. Each is fetched now
// and then into a source of the service's own, of which TrustedBuilds makes what it makes of every
// trusted source; so the objects of yesterday's mainline are there before anybody asks.
//
// Thread-safe; calls block for the disk, not for the network.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/build/trusted_builds.h"
#include "server/source/source_catalog.h"

namespace kdbg::build {

struct TrustedRemote {
  std::string url;
  std::string ref;

  // "URL#REF"; without #REF its HEAD. INVALID_ARGUMENT unless somebody could fetch that.
  static absl::StatusOr<TrustedRemote> Parse(const std::string& text);
};

class TrustedRemotes {
 public:
  struct Settings {
    std::vector<TrustedRemote> remotes;  // the catalog must allow their URLs
    absl::Duration period = absl::Hours(1);
    std::size_t commits_kept = 3;  // of each; their seeds are gigabytes
  };
  TrustedRemotes(source::SourceCatalog& sources, TrustedBuilds& builds, const Clock& clock,
                 Settings settings)
      : sources_(sources), builds_(builds), clock_(clock), settings_(std::move(settings)) {}

  // Begins to fetch each remote for which it is time. What came before is settled then: a commit
  // with a tree that was there already goes, a fetch that failed, and the oldest of too many.
  absl::Status KeepUp();

 private:
  absl::Status KeepUp(const TrustedRemote& remote) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Settle(const std::vector<source::SourceRecord>& newest_first);
  absl::StatusOr<std::vector<source::SourceRecord>> Fetched(const TrustedRemote& remote) const;

  source::SourceCatalog& sources_;
  TrustedBuilds& builds_;
  const Clock& clock_;
  const Settings settings_;
  absl::Mutex mutex_;
  // When each was begun, of the monotonic clock; a start of the daemon begins them all.
  std::map<std::string, absl::Duration> begun_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::build
