// How bytes become a source's tree, or a tree that is there already is used again.
//
// Blocks for the disk and for git; thread-safe. SourceCatalog drives it.
#pragma once

#include <functional>
#include <span>
#include <stop_token>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/source/git_mirrors.h"
#include "server/source/known_objects.h"
#include "server/source/object_database.h"
#include "server/source/patches.h"
#include "server/source/quarantine.h"
#include "server/source/source_catalog.h"
#include "server/source/source_records.h"
#include "server/state/database.h"

namespace kdbg::source {

class SourceImporter {
 public:
  SourceImporter(state::Database& database, ObjectDatabase& objects, const ArchiveLimits& limits);

  // All fill in tree, counts and project of the record, and keep the tree under its id.

  // A tarball; the digest too.
  absl::Status ImportTarball(SourceRecord& record, const UniqueFd& bytes,
                             const std::function<void(const ImportProgress&)>& on_progress,
                             const std::stop_token& stop);
  // A pack that completes `record.origin.tree` with objects the owner may read.
  //   INVALID_ARGUMENT     (kPackInvalid, kTreeUnsafe, kTreeTooLarge)
  //   FAILED_PRECONDITION  (kObjectsMissing)
  absl::Status ImportPack(SourceRecord& record, const UniqueFd& pack,
                          std::span<const ObjectId> delta_bases, const std::stop_token& stop);

  // `record.origin.tree` with these patches; the owner may read that tree.
  //   INVALID_ARGUMENT  (kPatchInvalid, kPatchDoesNotApply, kTreeUnsafe, kTreeTooLarge)
  absl::Status ImportPatched(SourceRecord& record, std::span<const Patch> patches,
                             const std::stop_token& stop);

  // The commit that `record.origin` names.
  //   as GitMirrors::Fetch, and INVALID_ARGUMENT (kTreeUnsafe, kTreeTooLarge)
  absl::Status ImportRemote(SourceRecord& record, GitMirrors& mirrors, std::optional<uid_t> reader,
                            const std::stop_token& stop);

  // From another READY source with the same digest; false when there is none.
  absl::StatusOr<bool> Reuse(SourceRecord& record);
  // `record.origin.tree`, when it is one of those the owner may read; else false.
  absl::StatusOr<bool> UseKnownTree(SourceRecord& record);

  KnownObjects& known() { return known_; }

 private:
  absl::Status FindDigest(SourceRecord& record, const UniqueFd& bytes, const std::stop_token& stop);
  // Of a quarantine, when all of it is there and safe; `known` is in the repository already.
  absl::Status TakeTree(SourceRecord& record, Quarantine& quarantine, const ObjectId& tree,
                        const Extents& known, const std::stop_token& stop);
  absl::Status KeepTree(SourceRecord& record, const std::string& tree, const Extent& extent);
  void SetProject(SourceRecord& record) const;

  state::Database& database_;
  ObjectDatabase& objects_;
  const ArchiveLimits limits_;
  KnownObjects known_;
};

absl::StatusOr<FileStamp> StampOf(const UniqueFd& file);

// Whose fault an import's error is, for the record.
SourceFailure FailureOf(const absl::Status& status);

}  // namespace kdbg::source
