// The table of sources. No policy: what the catalog asks of the database, in one place.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/source/object_id.h"
#include "server/source/source_catalog.h"
#include "server/state/database.h"

namespace kdbg::source {

// A row: the record and what only the import needs.
struct SourceRow {
  SourceRecord record;
  std::string request_id;
  std::optional<uid_t> reader;
  std::vector<ObjectId> delta_bases;  // of a git pack
};

// Bytes of a file on the server that were hashed before; the same as long as nobody writes to it.
struct FileStamp {
  std::int64_t device = 0;
  std::int64_t inode = 0;
  std::int64_t size_bytes = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
};

class SourceRecords {
 public:
  static std::span<const state::Migration> Migrations();

  // Fills in the sequence.
  static absl::Status Insert(state::Transaction& transaction, SourceRow& row);
  // State, failure, tree, digest, commit, counts, project and ready_time. False when the record is
  // gone.
  static absl::StatusOr<bool> Update(state::Transaction& transaction, const SourceRecord& record);
  static absl::Status Delete(state::Transaction& transaction, std::string_view id);

  static absl::StatusOr<std::optional<SourceRow>> Find(state::Transaction& transaction,
                                                       std::string_view id);
  static absl::StatusOr<std::optional<SourceRow>> FindByRequest(state::Transaction& transaction,
                                                                std::string_view owner,
                                                                std::string_view request_id,
                                                                absl::Time not_before);
  // Of this owner, READY before IMPORTING; FAILED ones are not found.
  static absl::StatusOr<std::optional<SourceRow>> FindByDigest(state::Transaction& transaction,
                                                               std::string_view owner,
                                                               std::string_view sha256);
  // Of this owner, READY before a git pack for it that is IMPORTING.
  static absl::StatusOr<std::optional<SourceRow>> FindByTree(state::Transaction& transaction,
                                                             std::string_view owner,
                                                             std::string_view tree);
  // Of this owner's READY sources, newest first, each once.
  static absl::StatusOr<std::vector<std::string>> ReadyTrees(state::Transaction& transaction,
                                                             std::string_view owner);
  // IMPORTING from this path or URL.
  static absl::StatusOr<std::optional<SourceRow>> FindImporting(state::Transaction& transaction,
                                                                std::string_view owner,
                                                                OriginKind kind,
                                                                std::string_view text,
                                                                std::string_view ref);
  // READY, whoever's.
  static absl::StatusOr<std::optional<SourceRow>> FindAnyReady(state::Transaction& transaction,
                                                               std::string_view sha256);
  static absl::StatusOr<std::vector<SourceRow>> List(state::Transaction& transaction,
                                                     const SourceCatalog::ListQuery& query);
  static absl::StatusOr<std::vector<SourceRow>> Unfinished(state::Transaction& transaction);

  static absl::StatusOr<std::string> KnownDigest(state::Transaction& transaction,
                                                 const FileStamp& stamp);
  static absl::Status RememberDigest(state::Transaction& transaction, const FileStamp& stamp,
                                     std::string_view sha256);
};

}  // namespace kdbg::source
