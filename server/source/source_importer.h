// How a tarball becomes a source: find its digest, use a tree that is there already, else import.
//
// Blocks for the disk and for git; thread-safe. SourceCatalog's worker drives it.
#pragma once

#include <functional>
#include <stop_token>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/source/object_database.h"
#include "server/source/project.h"
#include "server/source/source_catalog.h"
#include "server/source/source_records.h"
#include "server/state/database.h"

namespace kdbg::source {

class SourceImporter {
 public:
  SourceImporter(state::Database& database, ObjectDatabase& objects, const ArchiveLimits& limits);

  // Fills in digest, tree, counts and project.
  absl::Status Import(SourceRecord& record, const UniqueFd& bytes,
                      const std::function<void(const ImportProgress&)>& on_progress,
                      const std::stop_token& stop);
  // Fills in the same from another READY source with these bytes; false when there is none.
  absl::StatusOr<bool> Reuse(SourceRecord& record);

 private:
  absl::Status FindDigest(SourceRecord& record, const UniqueFd& bytes, const std::stop_token& stop);
  Project ProjectOf(const std::string& tree) const;

  state::Database& database_;
  ObjectDatabase& objects_;
  const ArchiveLimits limits_;
};

absl::StatusOr<FileStamp> StampOf(const UniqueFd& file);

// Whose fault an import's error is, for the record.
SourceFailure FailureOf(const absl::Status& status);

}  // namespace kdbg::source
