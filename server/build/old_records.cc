#include "server/build/old_records.h"

#include <set>
#include <string>
#include <vector>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"
#include "server/source/trusted_sources.h"

namespace kdbg::build {
namespace {

constexpr int kPage = 500;

}  // namespace

absl::Status OldRecords::Remove(absl::Duration age, const std::stop_token& stop) {
  const absl::Time since = clock_.Now() - age;
  // Listed before the builds: one that is built of meanwhile is not among them, or too young.
  std::vector<source::SourceRecord> old_sources;
  source::SourceCatalog::ListQuery sources{.limit = kPage};
  for (bool more = true; more;) {
    KDBG_ASSIGN_OR_RETURN(const auto page, sources_.List(sources));
    for (const source::SourceRecord& source : page) {
      const bool ended = source.state != source::SourceState::kImporting;
      if (ended && source.create_time < since && source.owner != source::kTrustedOwner) {
        old_sources.push_back(source);
      }
    }
    more = page.size() == kPage;
    if (more) sources.before_sequence = page.back().sequence;
  }
  std::set<std::string, std::less<>> used;
  Builds::ListQuery builds;
  builds.limit = kPage;
  for (bool more = true; more;) {
    KDBG_ASSIGN_OR_RETURN(const std::vector<BuildRecord> page, builds_.List(builds));
    for (const BuildRecord& build : page) {
      if (stop.stop_requested()) return absl::CancelledError("stopped");
      KDBG_ASSIGN_OR_RETURN(const bool goes, MayGo(build, since));
      if (goes) {
        KDBG_RETURN_IF_ERROR(builds_.Delete(build.id));
        spdlog::info("builds/{} of {} is forgotten: it ended long ago and has no artifact",
                     build.id, build.owner);
        continue;
      }
      used.insert(build.request.source_id);
    }
    more = page.size() == kPage;
    if (more) builds.before_sequence = page.back().sequence;
  }
  for (const source::SourceRecord& source : old_sources) {
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    if (used.contains(source.id)) continue;
    KDBG_RETURN_IF_ERROR(sources_.Delete(source.id));
    spdlog::info("sources/{} of {} is forgotten: no build is of it", source.id, source.owner);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> OldRecords::MayGo(const BuildRecord& build, absl::Time since) const {
  if (!IsFinal(build.state) || build.end_time.value_or(build.create_time) >= since) return false;
  if (build.artifact_id.empty()) return true;
  const auto artifact = artifacts_.Get(build.artifact_id);
  if (artifact.ok()) return false;
  if (absl::IsNotFound(artifact.status())) return true;
  return artifact.status();
}

}  // namespace kdbg::build
