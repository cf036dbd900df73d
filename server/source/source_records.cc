#include "server/source/source_records.h"

#include <fmt/format.h>

#include <utility>

#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

using state::Row;
using state::ToValue;
using state::Transaction;
using state::Value;

constexpr state::Migration kMigrations[] = {
    {"sources", 1, R"sql(
      CREATE TABLE sources (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        origin_kind INTEGER NOT NULL,
        origin_text TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        upload TEXT NOT NULL,
        state INTEGER NOT NULL,
        fault INTEGER,
        reason TEXT NOT NULL DEFAULT '',
        message TEXT NOT NULL DEFAULT '',
        tree TEXT NOT NULL DEFAULT '',
        files_imported INTEGER NOT NULL DEFAULT 0,
        bytes_imported INTEGER NOT NULL DEFAULT 0,
        project TEXT NOT NULL DEFAULT '',
        project_version TEXT NOT NULL DEFAULT '',
        create_time INTEGER NOT NULL,
        ready_time INTEGER,
        request_id TEXT NOT NULL,
        reader INTEGER);
      CREATE INDEX sources_by_owner ON sources (owner, sequence);
      CREATE INDEX sources_by_digest ON sources (sha256);
      CREATE TABLE source_file_digests (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (device, inode)) WITHOUT ROWID;
    )sql"},
    {"sources", 2, R"sql(
      ALTER TABLE sources ADD COLUMN origin_tree TEXT NOT NULL DEFAULT '';
      ALTER TABLE sources ADD COLUMN origin_ref TEXT NOT NULL DEFAULT '';
      ALTER TABLE sources ADD COLUMN origin_dirty INTEGER NOT NULL DEFAULT 0;
      ALTER TABLE sources ADD COLUMN delta_bases TEXT NOT NULL DEFAULT '';
      CREATE INDEX sources_by_tree ON sources (owner, tree);
    )sql"},
};

constexpr std::string_view kColumns =
    "SELECT sequence, id, owner, origin_kind, origin_text, sha256, upload, state, fault, reason, "
    "message, tree, files_imported, bytes_imported, project, project_version, create_time, "
    "ready_time, request_id, reader, origin_tree, origin_ref, origin_dirty, delta_bases FROM "
    "sources";

// Ids in hex, one after the other.
std::string Joined(const std::vector<ObjectId>& ids) {
  std::string text;
  for (const ObjectId& id : ids) text += id.Hex();
  return text;
}

std::vector<ObjectId> Split(std::string_view text) {
  std::vector<ObjectId> ids;
  for (; text.size() >= ObjectId::kHexDigits; text.remove_prefix(ObjectId::kHexDigits)) {
    const auto id = ObjectId::FromHex(text.substr(0, ObjectId::kHexDigits));
    if (id) ids.push_back(*id);
  }
  return ids;
}

SourceRow FromRow(const Row& row) {
  SourceRow source;
  SourceRecord& record = source.record;
  record.sequence = row.Integer(0);
  record.id = row.Text(1);
  record.owner = row.Text(2);
  record.origin = {.kind = row.As<OriginKind>(3),
                   .text = row.Text(4),
                   .sha256 = row.Text(5),
                   .upload = row.Text(6),
                   .tree = row.Text(20),
                   .ref = row.Text(21),
                   .dirty = row.Integer(22) != 0};
  record.state = row.As<SourceState>(7);
  if (!row.IsNull(8)) {
    record.failure = SourceFailure{
        .fault = row.As<SourceFault>(8), .reason = row.Text(9), .message = row.Text(10)};
  }
  record.tree = row.Text(11);
  record.files_imported = row.Integer(12);
  record.bytes_imported = row.Integer(13);
  record.project = row.Text(14);
  record.project_version = row.Text(15);
  record.create_time = row.Time(16);
  record.ready_time = row.OptionalTime(17);
  source.request_id = row.Text(18);
  if (!row.IsNull(19)) source.reader = static_cast<uid_t>(row.Integer(19));
  source.delta_bases = Split(row.Text(23));
  return source;
}

absl::StatusOr<std::vector<SourceRow>> Select(Transaction& transaction, std::string_view where,
                                              std::vector<Value> values) {
  std::vector<SourceRow> rows;
  KDBG_RETURN_IF_ERROR(transaction.QueryValues(fmt::format("{} {}", kColumns, where),
                                               std::move(values), [&](const Row& row) {
                                                 rows.push_back(FromRow(row));
                                                 return absl::OkStatus();
                                               }));
  return rows;
}

absl::StatusOr<std::optional<SourceRow>> SelectOne(Transaction& transaction, std::string_view where,
                                                   std::vector<Value> values) {
  KDBG_ASSIGN_OR_RETURN(std::vector<SourceRow> rows, Select(transaction, where, std::move(values)));
  if (rows.empty()) return std::nullopt;
  return std::move(rows.front());
}

}  // namespace

std::span<const state::Migration> SourceRecords::Migrations() { return kMigrations; }

absl::Status SourceRecords::Insert(Transaction& transaction, SourceRow& row) {
  SourceRecord& record = row.record;
  const Value reader = row.reader ? ToValue(*row.reader) : Value(state::Null{});
  KDBG_RETURN_IF_ERROR(
      transaction
          .ExecuteValues(
              "INSERT INTO sources (id, owner, origin_kind, origin_text, sha256, upload, "
              "state, create_time, request_id, reader, origin_tree, origin_ref, origin_dirty, "
              "delta_bases) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
              {ToValue(record.id), ToValue(record.owner), ToValue(record.origin.kind),
               ToValue(record.origin.text), ToValue(record.origin.sha256),
               ToValue(record.origin.upload), ToValue(SourceState::kImporting),
               ToValue(record.create_time), ToValue(row.request_id), reader,
               ToValue(record.origin.tree), ToValue(record.origin.ref),
               ToValue(record.origin.dirty), ToValue(Joined(row.delta_bases))})
          .status());
  KDBG_RETURN_IF_ERROR(transaction.Query("SELECT last_insert_rowid()", [&](const Row& answer) {
    record.sequence = answer.Integer(0);
    return absl::OkStatus();
  }));
  if (record.state == SourceState::kImporting) return absl::OkStatus();
  return Update(transaction, record).status();
}

absl::StatusOr<bool> SourceRecords::Update(Transaction& transaction, const SourceRecord& record) {
  const bool failed = record.failure.has_value();
  const SourceFailure failure = record.failure.value_or(SourceFailure{});
  KDBG_ASSIGN_OR_RETURN(
      const std::int64_t changed,
      transaction.ExecuteValues(
          "UPDATE sources SET state = ?, fault = ?, reason = ?, message = ?, tree = ?, sha256 = ?, "
          "files_imported = ?, bytes_imported = ?, project = ?, project_version = ?, "
          "ready_time = ?, origin_tree = ? WHERE id = ?",
          {ToValue(record.state), failed ? ToValue(failure.fault) : Value(state::Null{}),
           ToValue(failure.reason), ToValue(failure.message), ToValue(record.tree),
           ToValue(record.origin.sha256), ToValue(record.files_imported),
           ToValue(record.bytes_imported), ToValue(record.project), ToValue(record.project_version),
           ToValue(record.ready_time), ToValue(record.origin.tree), ToValue(record.id)}));
  return changed > 0;
}

absl::Status SourceRecords::Delete(Transaction& transaction, std::string_view id) {
  return transaction.Execute("DELETE FROM sources WHERE id = ?", id).status();
}

absl::StatusOr<std::optional<SourceRow>> SourceRecords::Find(Transaction& transaction,
                                                             std::string_view id) {
  return SelectOne(transaction, "WHERE id = ?", {ToValue(id)});
}

absl::StatusOr<std::optional<SourceRow>> SourceRecords::FindByRequest(Transaction& transaction,
                                                                      std::string_view owner,
                                                                      std::string_view request_id,
                                                                      absl::Time not_before) {
  return SelectOne(transaction, "WHERE owner = ? AND request_id = ? AND create_time >= ?",
                   {ToValue(owner), ToValue(request_id), ToValue(not_before)});
}

absl::StatusOr<std::optional<SourceRow>> SourceRecords::FindByDigest(Transaction& transaction,
                                                                     std::string_view owner,
                                                                     std::string_view sha256) {
  return SelectOne(transaction,
                   "WHERE owner = ? AND sha256 = ? AND state <> ? ORDER BY state DESC, sequence",
                   {ToValue(owner), ToValue(sha256), ToValue(SourceState::kFailed)});
}

absl::StatusOr<std::optional<SourceRow>> SourceRecords::FindByTree(Transaction& transaction,
                                                                   std::string_view owner,
                                                                   std::string_view tree) {
  return SelectOne(transaction,
                   "WHERE owner = ?1 AND ((state = ?2 AND tree = ?3) OR "
                   "(state = ?4 AND origin_kind = ?5 AND origin_tree = ?3)) "
                   "ORDER BY state DESC, sequence DESC",
                   {ToValue(owner), ToValue(SourceState::kReady), ToValue(tree),
                    ToValue(SourceState::kImporting), ToValue(OriginKind::kGitPack)});
}

absl::StatusOr<std::vector<std::string>> SourceRecords::ReadyTrees(Transaction& transaction,
                                                                   std::string_view owner) {
  std::vector<std::string> trees;
  KDBG_RETURN_IF_ERROR(
      transaction.Query("SELECT tree FROM sources WHERE owner = ? AND state = ? GROUP BY tree "
                        "ORDER BY max(sequence) DESC",
                        owner, SourceState::kReady, [&](const Row& row) {
                          trees.push_back(row.Text(0));
                          return absl::OkStatus();
                        }));
  return trees;
}

absl::StatusOr<std::optional<SourceRow>> SourceRecords::FindImporting(Transaction& transaction,
                                                                      std::string_view owner,
                                                                      OriginKind kind,
                                                                      std::string_view text,
                                                                      std::string_view ref) {
  return SelectOne(transaction,
                   "WHERE owner = ? AND origin_kind = ? AND origin_text = ? AND origin_ref = ? AND "
                   "state = ?",
                   {ToValue(owner), ToValue(kind), ToValue(text), ToValue(ref),
                    ToValue(SourceState::kImporting)});
}

absl::StatusOr<std::optional<SourceRow>> SourceRecords::FindAnyReady(Transaction& transaction,
                                                                     std::string_view sha256) {
  return SelectOne(transaction, "WHERE sha256 = ? AND state = ? ORDER BY sequence",
                   {ToValue(sha256), ToValue(SourceState::kReady)});
}

absl::StatusOr<std::vector<SourceRow>> SourceRecords::List(Transaction& transaction,
                                                           const SourceCatalog::ListQuery& query) {
  return Select(transaction,
                "WHERE (?1 = 0 OR sequence < ?1) AND (?2 OR owner = ?3) "
                "ORDER BY sequence DESC LIMIT ?4",
                {ToValue(query.before_sequence), ToValue(!query.owner.has_value()),
                 ToValue(query.owner.value_or("")), ToValue(query.limit)});
}

absl::StatusOr<std::vector<SourceRow>> SourceRecords::Unfinished(Transaction& transaction) {
  return Select(transaction, "WHERE state = ? ORDER BY sequence",
                {ToValue(SourceState::kImporting)});
}

absl::StatusOr<std::string> SourceRecords::KnownDigest(Transaction& transaction,
                                                       const FileStamp& stamp) {
  std::string sha256;
  KDBG_RETURN_IF_ERROR(transaction.Query(
      "SELECT sha256 FROM source_file_digests WHERE device = ? AND inode = ? AND size_bytes = ? "
      "AND modified_ns = ? AND changed_ns = ?",
      stamp.device, stamp.inode, stamp.size_bytes, stamp.modified_ns, stamp.changed_ns,
      [&](const Row& row) {
        sha256 = row.Text(0);
        return absl::OkStatus();
      }));
  return sha256;
}

absl::Status SourceRecords::RememberDigest(Transaction& transaction, const FileStamp& stamp,
                                           std::string_view sha256) {
  return transaction
      .Execute(
          "INSERT OR REPLACE INTO source_file_digests "
          "(device, inode, size_bytes, modified_ns, changed_ns, sha256) "
          "VALUES (?, ?, ?, ?, ?, ?)",
          stamp.device, stamp.inode, stamp.size_bytes, stamp.modified_ns, stamp.changed_ns, sha256)
      .status();
}

}  // namespace kdbg::source
