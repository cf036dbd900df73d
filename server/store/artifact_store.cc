#include "server/store/artifact_store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/base/ids.h"

namespace kdbg::store {
namespace {

using state::Row;
using state::Transaction;

constexpr state::Migration kMigrations[] = {
    {"artifacts", 1, R"sql(
      CREATE TABLE artifacts (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind INTEGER NOT NULL,
        owner TEXT NOT NULL,
        private INTEGER NOT NULL,
        build_id TEXT NOT NULL,
        source_id TEXT NOT NULL,
        display_name TEXT NOT NULL,
        architecture TEXT NOT NULL,
        gnu_build_id TEXT NOT NULL,
        version TEXT NOT NULL,
        create_time INTEGER NOT NULL);
      CREATE INDEX artifacts_by_owner ON artifacts (owner, sequence);
      CREATE TABLE artifact_files (
        artifact TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
        path TEXT NOT NULL,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (artifact, path)) WITHOUT ROWID;
      CREATE INDEX artifact_files_by_digest ON artifact_files (digest);
      CREATE TABLE artifact_pins (
        artifact TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
        holder TEXT NOT NULL,
        PRIMARY KEY (artifact, holder)) WITHOUT ROWID;
      CREATE TABLE artifact_attributes (
        artifact TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (artifact, name)) WITHOUT ROWID;
    )sql"},
    {"artifacts", 2, R"sql(
      ALTER TABLE artifacts ADD COLUMN last_used_time INTEGER NOT NULL DEFAULT 0;
      UPDATE artifacts SET last_used_time = create_time;
    )sql"},
    {"artifacts", 3, R"sql(
      CREATE TRIGGER pins_go_with_their_artifact AFTER DELETE ON artifacts BEGIN
        DELETE FROM artifact_pins WHERE holder = 'artifact ' || old.id;
      END;
    )sql"},
    // What an artifact pins is let go by LetGo, which tells of the use.
    {"artifacts", 4, R"sql(
      DROP TRIGGER pins_go_with_their_artifact;
      ALTER TABLE artifact_files ADD COLUMN gnu_build_id TEXT NOT NULL DEFAULT '';
      UPDATE artifact_files SET gnu_build_id =
        (SELECT gnu_build_id FROM artifacts WHERE id = artifact) WHERE path = 'vmlinux';
      CREATE INDEX artifact_files_by_build_id ON artifact_files (gnu_build_id)
        WHERE gnu_build_id != '';
    )sql"},
};

constexpr std::string_view kColumns =
    "SELECT sequence, id, kind, owner, private, build_id, source_id, display_name, architecture, "
    "gnu_build_id, version, create_time, last_used_time FROM artifacts";

Artifact FromRow(const Row& row) {
  Artifact artifact;
  artifact.sequence = row.Integer(0);
  artifact.id = row.Text(1);
  artifact.kind = row.As<ArtifactKind>(2);
  artifact.owner = row.Text(3);
  artifact.is_private = row.Integer(4) != 0;
  artifact.build_id = row.Text(5);
  artifact.source_id = row.Text(6);
  artifact.display_name = row.Text(7);
  artifact.architecture = row.Text(8);
  artifact.gnu_build_id = row.Text(9);
  artifact.version = row.Text(10);
  artifact.create_time = row.Time(11);
  artifact.last_used_time = row.Time(12);
  return artifact;
}

absl::Status LoadParts(Transaction& transaction, Artifact& artifact) {
  KDBG_RETURN_IF_ERROR(transaction.Query(
      "SELECT path, digest, size_bytes, gnu_build_id FROM artifact_files WHERE artifact = ? "
      "ORDER BY path",
      artifact.id, [&](const Row& row) {
        artifact.files.push_back({row.Text(0), row.Text(1), row.Integer(2), row.Text(3)});
        return absl::OkStatus();
      }));
  KDBG_RETURN_IF_ERROR(
      transaction.Query("SELECT holder FROM artifact_pins WHERE artifact = ? ORDER BY holder",
                        artifact.id, [&](const Row& row) {
                          artifact.pins.push_back(row.Text(0));
                          return absl::OkStatus();
                        }));
  return transaction.Query("SELECT name, value FROM artifact_attributes WHERE artifact = ?",
                           artifact.id, [&](const Row& row) {
                             artifact.attributes.emplace(row.Text(0), row.Text(1));
                             return absl::OkStatus();
                           });
}

absl::StatusOr<std::optional<Artifact>> Find(Transaction& transaction, std::string_view id) {
  std::optional<Artifact> artifact;
  KDBG_RETURN_IF_ERROR(
      transaction.Query(fmt::format("{} WHERE id = ?", kColumns), id, [&](const Row& row) {
        artifact = FromRow(row);
        return absl::OkStatus();
      }));
  if (artifact) KDBG_RETURN_IF_ERROR(LoadParts(transaction, *artifact));
  return artifact;
}

absl::Status NotFound(std::string_view id) {
  return ResourceNotFound(ResourceName(kArtifacts, std::string(id)));
}

absl::Status InsertFile(Transaction& transaction, std::string_view id, const ArtifactFile& file) {
  return transaction
      .Execute(
          "INSERT OR REPLACE INTO artifact_files (artifact, path, digest, size_bytes, "
          "gnu_build_id) VALUES (?, ?, ?, ?, ?)",
          id, file.path, file.digest, file.size_bytes, file.gnu_build_id)
      .status();
}

absl::Status NoteUse(Transaction& transaction, std::string_view id, absl::Time now) {
  return transaction.Execute("UPDATE artifacts SET last_used_time = ? WHERE id = ?", now, id)
      .status();
}

absl::Status InsertParts(Transaction& transaction, const Artifact& artifact) {
  for (const ArtifactFile& file : artifact.files) {
    KDBG_RETURN_IF_ERROR(InsertFile(transaction, artifact.id, file));
  }
  for (const auto& [name, value] : artifact.attributes) {
    KDBG_RETURN_IF_ERROR(
        transaction
            .Execute("INSERT INTO artifact_attributes (artifact, name, value) VALUES (?, ?, ?)",
                     artifact.id, name, value)
            .status());
  }
  for (const std::string& holder : artifact.pins) {
    KDBG_RETURN_IF_ERROR(transaction
                             .Execute("INSERT INTO artifact_pins (artifact, holder) VALUES (?, ?)",
                                      artifact.id, holder)
                             .status());
  }
  return absl::OkStatus();
}

}  // namespace

const ArtifactFile* Artifact::FindFile(std::string_view path) const {
  const auto found = std::find_if(files.begin(), files.end(),
                                  [&](const ArtifactFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

std::span<const state::Migration> ArtifactStore::Migrations() { return kMigrations; }

ArtifactStore::ArtifactStore(state::Database& database, BlobStore& blobs, const Clock& clock)
    : database_(database), blobs_(blobs), clock_(clock) {}

absl::StatusOr<Artifact> ArtifactStore::Publish(Transaction& transaction, Artifact artifact) {
  if (artifact.id.empty()) artifact.id = NewId("a");
  if (artifact.create_time == absl::Time()) artifact.create_time = clock_.Now();
  artifact.last_used_time = clock_.Now();
  for (const ArtifactFile& file : artifact.files) {
    if (!blobs_.Claim(file.digest)) {
      return absl::InternalError(
          fmt::format("artifact {}: the bytes of {} are not stored", artifact.id, file.path));
    }
  }
  const auto by_path = [](const ArtifactFile& a, const ArtifactFile& b) { return a.path < b.path; };
  std::sort(artifact.files.begin(), artifact.files.end(), by_path);
  KDBG_RETURN_IF_ERROR(
      transaction
          .Execute("INSERT INTO artifacts (id, kind, owner, private, build_id, source_id, "
                   "display_name, architecture, gnu_build_id, version, create_time, "
                   "last_used_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   artifact.id, artifact.kind, artifact.owner, artifact.is_private,
                   artifact.build_id, artifact.source_id, artifact.display_name,
                   artifact.architecture, artifact.gnu_build_id, artifact.version,
                   artifact.create_time, artifact.last_used_time)
          .status());
  KDBG_RETURN_IF_ERROR(InsertParts(transaction, artifact));
  KDBG_RETURN_IF_ERROR(transaction.Query("SELECT last_insert_rowid()", [&](const Row& row) {
    artifact.sequence = row.Integer(0);
    return absl::OkStatus();
  }));
  transaction.AfterCommit(
      [subscribers = subscribers_, event = Published{artifact}] { subscribers->Notify(event); });
  return artifact;
}

absl::Status ArtifactStore::AddFile(std::string_view id, const ArtifactFile& file) {
  if (!blobs_.Claim(file.digest)) {
    return absl::InternalError(
        fmt::format("artifact {}: the bytes of {} are not stored", id, file.path));
  }
  return database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(const std::optional<Artifact> artifact, Find(transaction, id));
    if (!artifact) return NotFound(id);
    return InsertFile(transaction, id, file);
  });
}

absl::StatusOr<Artifact> ArtifactStore::Get(std::string_view id) const {
  absl::StatusOr<Artifact> artifact = NotFound(id);
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    artifact = Get(transaction, id);
    return artifact.status();
  }));
  return artifact;
}

absl::StatusOr<Artifact> ArtifactStore::Get(Transaction& transaction, std::string_view id) const {
  KDBG_ASSIGN_OR_RETURN(std::optional<Artifact> artifact, Find(transaction, id));
  if (!artifact) return NotFound(id);
  return *std::move(artifact);
}

absl::StatusOr<std::vector<Artifact>> ArtifactStore::List(const ListQuery& query) const {
  std::string sql = fmt::format("{} WHERE (?1 = 0 OR sequence < ?1)", kColumns);
  std::vector<state::Value> values = {state::ToValue(query.before_sequence),
                                      state::ToValue(query.limit)};
  if (query.owner) {
    sql += query.include_shared ? fmt::format(
                                      " AND (owner = ?3 OR private = 0 OR id IN ({}) OR "
                                      "(kind IN ({}, {}) AND build_id IN ({})))",
                                      state::Placeholders(query.granted.size()),
                                      static_cast<int>(ArtifactKind::kKernel),
                                      static_cast<int>(ArtifactKind::kInitramfs),
                                      state::Placeholders(query.granted_builds.size()))
                                : " AND owner = ?3";
    values.push_back(state::ToValue(*query.owner));
    if (query.include_shared) {
      for (const auto* ids : {&query.granted, &query.granted_builds}) {
        for (const std::string& id : *ids) values.push_back(state::ToValue(id));
      }
    }
  }
  if (query.kind) sql += fmt::format(" AND kind = {}", static_cast<int>(*query.kind));
  if (!query.gnu_build_id.empty()) {
    values.push_back(state::ToValue(query.gnu_build_id));
    // By its number: a bare ? would be taken for ?2, which stands further on.
    sql += fmt::format(" AND id IN (SELECT artifact FROM artifact_files WHERE gnu_build_id = ?{})",
                       values.size());
  }
  sql += " ORDER BY sequence DESC LIMIT ?2";
  std::vector<Artifact> artifacts;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(transaction.QueryValues(sql, values, [&](const Row& row) {
      artifacts.push_back(FromRow(row));
      return absl::OkStatus();
    }));
    for (Artifact& artifact : artifacts) {
      KDBG_RETURN_IF_ERROR(LoadParts(transaction, artifact));
    }
    return absl::OkStatus();
  }));
  return artifacts;
}

absl::StatusOr<std::vector<Artifact>> ArtifactStore::WithFile(std::string_view digest) const {
  std::vector<Artifact> artifacts;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(transaction.Query(
        fmt::format("{} WHERE id IN (SELECT artifact FROM artifact_files WHERE digest = ?)",
                    kColumns),
        digest, [&](const Row& row) {
          artifacts.push_back(FromRow(row));
          return absl::OkStatus();
        }));
    for (Artifact& artifact : artifacts) {
      KDBG_RETURN_IF_ERROR(LoadParts(transaction, artifact));
    }
    return absl::OkStatus();
  }));
  return artifacts;
}

absl::StatusOr<ArtifactStore::Total> ArtifactStore::Measure() const {
  Total total;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT (SELECT count(*) FROM artifacts), count(*), coalesce(sum(size), 0) "
        "FROM (SELECT max(size_bytes) AS size FROM artifact_files GROUP BY digest)",
        [&](const Row& row) {
          total = {.artifacts = row.Integer(0), .blobs = row.Integer(1), .bytes = row.Integer(2)};
          return absl::OkStatus();
        });
  }));
  return total;
}

absl::Status ArtifactStore::LetGo(Transaction& transaction, std::string_view id) {
  const std::string holder = fmt::format("artifact {}", id);
  std::vector<std::string> held;
  KDBG_RETURN_IF_ERROR(transaction.Query("SELECT artifact FROM artifact_pins WHERE holder = ?",
                                         holder, [&](const Row& row) {
                                           held.push_back(row.Text(0));
                                           return absl::OkStatus();
                                         }));
  for (const std::string& artifact : held) {
    KDBG_RETURN_IF_ERROR(Unpin(transaction, artifact, holder));
  }
  return absl::OkStatus();
}

absl::Status ArtifactStore::Delete(std::string_view id) {
  return database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(const std::optional<Artifact> artifact, Find(transaction, id));
    if (!artifact) return absl::OkStatus();
    if (!artifact->pins.empty()) {
      const std::string holders = fmt::format("{}", fmt::join(artifact->pins, ", "));
      return MakeError(
          absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
          fmt::format(
              "artifact {} is kept by {}; unpin it, delete that artifact or end the session "
              "first",
              id, holders),
          {{"holder", holders}});
    }
    KDBG_RETURN_IF_ERROR(LetGo(transaction, id));
    return transaction.Execute("DELETE FROM artifacts WHERE id = ?", id).status();
  });
}

absl::Status ArtifactStore::Touch(std::string_view id) {
  return database_.Write(
      [&](Transaction& transaction) { return NoteUse(transaction, id, clock_.Now()); });
}

absl::StatusOr<bool> ArtifactStore::DeleteUnused(std::string_view id, absl::Time last_used_time) {
  std::int64_t deleted = 0;
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(
        deleted, transaction.Execute(
                     "DELETE FROM artifacts WHERE id = ? AND last_used_time = ? AND "
                     "NOT EXISTS (SELECT 1 FROM artifact_pins WHERE artifact = artifacts.id)",
                     id, last_used_time));
    return deleted > 0 ? LetGo(transaction, id) : absl::OkStatus();
  }));
  return deleted > 0;
}

absl::Status ArtifactStore::Pin(Transaction& transaction, std::string_view id,
                                std::string_view holder) {
  KDBG_ASSIGN_OR_RETURN(const std::optional<Artifact> artifact, Find(transaction, id));
  if (!artifact) return NotFound(id);
  KDBG_RETURN_IF_ERROR(NoteUse(transaction, id, clock_.Now()));
  return transaction
      .Execute("INSERT OR IGNORE INTO artifact_pins (artifact, holder) VALUES (?, ?)", id, holder)
      .status();
}

absl::Status ArtifactStore::Unpin(Transaction& transaction, std::string_view id,
                                  std::string_view holder) {
  KDBG_RETURN_IF_ERROR(NoteUse(transaction, id, clock_.Now()));
  return transaction
      .Execute("DELETE FROM artifact_pins WHERE artifact = ? AND holder = ?", id, holder)
      .status();
}

Subscription ArtifactStore::Subscribe(std::function<void(const Published&)> listener) {
  return subscribers_->Add(std::move(listener));
}

absl::StatusOr<std::int64_t> ArtifactStore::CollectGarbage(absl::Duration minimum_age) {
  std::set<std::string, std::less<>> used;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query("SELECT DISTINCT digest FROM artifact_files", [&](const Row& row) {
      used.insert(row.Text(0));
      return absl::OkStatus();
    });
  }));
  return blobs_.RemoveUnused([&](std::string_view digest) { return used.contains(digest); },
                             minimum_age);
}

}  // namespace kdbg::store
