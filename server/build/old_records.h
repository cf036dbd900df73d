// What is remembered of builds and sources that are of no use any more: an ended build whose
// artifact is gone, with its log, and a source that no build is of, with what of its tree nobody
// else has.
#pragma once

#include <stop_token>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/build/builds.h"
#include "server/source/source_catalog.h"
#include "server/store/artifact_store.h"

namespace kdbg::build {

// Thread-safe; blocks for the disk.
class OldRecords {
 public:
  OldRecords(Builds& builds, source::SourceCatalog& sources, const store::ArtifactStore& artifacts,
             const Clock& clock)
      : builds_(builds), sources_(sources), artifacts_(artifacts), clock_(clock) {}

  // Of builds that ended, and sources that came, longer than `age` ago. The service's own sources,
  // which are what it trusts, stay. CANCELLED after `stop`.
  absl::Status Remove(absl::Duration age, const std::stop_token& stop);

 private:
  absl::StatusOr<bool> MayGo(const BuildRecord& build, absl::Time since) const;

  Builds& builds_;
  source::SourceCatalog& sources_;
  const store::ArtifactStore& artifacts_;
  const Clock& clock_;
};

}  // namespace kdbg::build
