#include "server/build/build_table.h"

#include <fmt/format.h>

#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/build/stored_build.h"
#include "server/source/trusted_sources.h"

namespace kdbg::build {
namespace {

using state::ToValue;

constexpr state::Migration kMigrations[] = {
    {"build", 1, R"(
CREATE TABLE builds (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  owner TEXT NOT NULL,
  display_name TEXT NOT NULL,
  kind INTEGER NOT NULL,
  is_private INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  state INTEGER NOT NULL,
  key TEXT NOT NULL,
  artifact_id TEXT NOT NULL,
  create_time INTEGER NOT NULL,
  start_time INTEGER,
  end_time INTEGER,
  detail TEXT NOT NULL
);
CREATE INDEX builds_by_owner ON builds (owner, kind, state);
CREATE INDEX builds_by_key ON builds (owner, key);
CREATE TABLE build_workspaces (
  id TEXT PRIMARY KEY,
  config_key TEXT NOT NULL,
  tree TEXT NOT NULL,
  full_steps INTEGER NOT NULL,
  incremental_steps INTEGER NOT NULL
);
CREATE TABLE build_indexes_wanted (artifact_id TEXT PRIMARY KEY);
)"},
    {"build", 2, R"(
ALTER TABLE build_workspaces ADD COLUMN begun_steps INTEGER;
DROP INDEX builds_by_key;
CREATE INDEX builds_by_key ON builds (key, owner);
)"},
};

constexpr std::string_view kColumns =
    "sequence, id, owner, display_name, is_private, request_id, state, artifact_id, create_time, "
    "start_time, end_time, detail, key";

absl::StatusOr<BuildRecord> ReadRow(const state::Row& row) {
  BuildRecord record;
  record.sequence = row.Integer(0);
  record.id = row.Text(1);
  record.owner = row.Text(2);
  record.request.display_name = row.Text(3);
  record.request.is_private = row.Integer(4) != 0;
  record.request.request_id = row.Text(5);
  record.state = row.As<BuildState>(6);
  record.artifact_id = row.Text(7);
  record.create_time = row.Time(8);
  record.start_time = row.OptionalTime(9);
  record.end_time = row.OptionalTime(10);
  KDBG_RETURN_IF_ERROR(DecodeDetail(row.Text(11), record));
  record.key = row.Text(12);
  return record;
}

}  // namespace

std::span<const state::Migration> BuildTable::Migrations() { return kMigrations; }

absl::Status BuildTable::Insert(BuildRecord& record) {
  return database_.Write([&](state::Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(
        transaction
            .Execute("INSERT INTO builds (id, owner, display_name, kind, is_private, request_id, "
                     "state, key, artifact_id, create_time, start_time, end_time, detail) "
                     "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     record.id, record.owner, record.request.display_name, record.kind(),
                     record.request.is_private, record.request.request_id, record.state, record.key,
                     record.artifact_id, record.create_time, record.start_time, record.end_time,
                     EncodeDetail(record))
            .status());
    return transaction.Query("SELECT sequence FROM builds WHERE id = ?", record.id,
                             [&](const state::Row& row) {
                               record.sequence = row.Integer(0);
                               return absl::OkStatus();
                             });
  });
}

absl::Status BuildTable::Update(const BuildRecord& record) {
  return database_.Write(
      [&](state::Transaction& transaction) { return Update(transaction, record); });
}

absl::Status BuildTable::Update(state::Transaction& transaction, const BuildRecord& record) {
  return transaction
      .Execute(
          "UPDATE builds SET state = ?, key = ?, artifact_id = ?, start_time = ?, end_time = ?, "
          "detail = ? WHERE id = ?",
          record.state, record.key, record.artifact_id, record.start_time, record.end_time,
          EncodeDetail(record), record.id)
      .status();
}

absl::Status BuildTable::Delete(std::string_view id) {
  return database_.Write([&](state::Transaction& transaction) {
    return transaction.Execute("DELETE FROM builds WHERE id = ?", id).status();
  });
}

absl::StatusOr<std::vector<BuildRecord>> BuildTable::Select(
    std::string_view condition, std::vector<state::Value> values) const {
  std::vector<BuildRecord> records;
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) {
    return transaction.QueryValues(
        fmt::format("SELECT {} FROM builds WHERE {}", kColumns, condition), std::move(values),
        [&](const state::Row& row) -> absl::Status {
          KDBG_ASSIGN_OR_RETURN(BuildRecord record, ReadRow(row));
          records.push_back(std::move(record));
          return absl::OkStatus();
        });
  }));
  return records;
}

absl::StatusOr<BuildRecord> BuildTable::SelectOne(std::string_view condition,
                                                  std::vector<state::Value> values,
                                                  std::string_view what) const {
  KDBG_ASSIGN_OR_RETURN(
      std::vector<BuildRecord> records,
      Select(fmt::format("{} ORDER BY sequence DESC LIMIT 1", condition), std::move(values)));
  if (records.empty()) return ResourceNotFound(fmt::format("builds/{}", what));
  return std::move(records[0]);
}

absl::StatusOr<BuildRecord> BuildTable::Get(std::string_view id) const {
  return SelectOne("id = ?", {ToValue(id)}, id);
}

absl::StatusOr<BuildRecord> BuildTable::FindByName(std::string_view owner,
                                                   std::string_view name) const {
  return SelectOne("owner = ? AND display_name = ?", {ToValue(owner), ToValue(name)}, name);
}

absl::StatusOr<BuildRecord> BuildTable::FindByRequest(std::string_view owner,
                                                      std::string_view request_id) const {
  return SelectOne("owner = ? AND request_id = ?", {ToValue(owner), ToValue(request_id)},
                   request_id);
}

absl::StatusOr<BuildRecord> BuildTable::NewestSuccessful(
    std::string_view owner, BuildKind kind, std::optional<Architecture> architecture) const {
  // Who builds for several architectures has one of the one wanted among the newest.
  KDBG_ASSIGN_OR_RETURN(
      std::vector<BuildRecord> records,
      Select(fmt::format("owner = ? AND kind = ? AND state = ? ORDER BY sequence DESC LIMIT {}",
                         architecture ? 200 : 1),
             {ToValue(owner), ToValue(kind), ToValue(BuildState::kSucceeded)}));
  for (BuildRecord& record : records) {
    if (!architecture || ArchitectureOf(record.request) == *architecture) return std::move(record);
  }
  const std::string_view name = kind == BuildKind::kKernel ? "kernel" : "initramfs";
  const std::string option =
      architecture ? fmt::format(" --arch {}", TraitsOf(*architecture).name) : "";
  return MakeError(
      absl::StatusCode::kNotFound, Reason::kNoDefaultBuild,
      fmt::format("you have no {} build{} that succeeded: make one with `kdbgctl {} "
                  "build{}`, or name one of another owner",
                  name, architecture ? fmt::format(" for {}", TraitsOf(*architecture).name) : "",
                  name, option),
      {{"kind", std::string(name)}});
}

absl::StatusOr<BuildRecord> BuildTable::FindByKey(std::string_view owner, std::string_view key,
                                                  bool is_private) const {
  return SelectOne("((owner = ? AND is_private = ?) OR owner = ?) AND key = ? AND state = ?",
                   {ToValue(owner), ToValue(is_private), ToValue(source::kTrustedOwner),
                    ToValue(key), ToValue(BuildState::kSucceeded)},
                   "-");
}

absl::StatusOr<BuildRecord> BuildTable::FindNewest(std::string_view owner,
                                                   std::string_view key) const {
  return SelectOne("owner = ? AND key = ?", {ToValue(owner), ToValue(key)}, "-");
}

absl::StatusOr<std::vector<BuildRecord>> BuildTable::List(const Builds::ListQuery& query) const {
  std::string condition = "1";
  std::vector<state::Value> values;
  if (query.owner) {
    condition = query.include_shared ? fmt::format("(owner = ? OR is_private = 0 OR id IN ({}))",
                                                   state::Placeholders(query.granted.size()))
                                     : "owner = ?";
    values.push_back(ToValue(*query.owner));
    if (query.include_shared) {
      for (const std::string& id : query.granted) values.push_back(ToValue(id));
    }
  }
  if (query.unfinished) {
    condition += " AND state IN (?, ?)";
    values.push_back(ToValue(BuildState::kQueued));
    values.push_back(ToValue(BuildState::kRunning));
  }
  if (query.before_sequence > 0) {
    condition += " AND sequence < ?";
    values.push_back(ToValue(query.before_sequence));
  }
  condition += " ORDER BY sequence DESC LIMIT ?";
  values.push_back(ToValue(query.limit));
  return Select(condition, std::move(values));
}

absl::StatusOr<std::vector<BuildRecord>> BuildTable::Unfinished() const {
  return Select("state IN (?, ?) ORDER BY sequence",
                {ToValue(BuildState::kQueued), ToValue(BuildState::kRunning)});
}

absl::StatusOr<WorkspaceMemory> BuildTable::Recall(std::string_view workspace_id) const {
  WorkspaceMemory memory;
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) {
    return transaction.Query(
        "SELECT config_key, tree, full_steps, incremental_steps, begun_steps "
        "FROM build_workspaces WHERE id = ?",
        workspace_id, [&](const state::Row& row) {
          memory = {row.Text(0), row.Text(1), row.Integer(2), row.Integer(3)};
          if (!row.IsNull(4)) memory.begun_steps = row.Integer(4);
          return absl::OkStatus();
        });
  }));
  return memory;
}

absl::StatusOr<std::int64_t> BuildTable::FullStepsOf(std::string_view config_key) const {
  std::int64_t steps = 0;
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) {
    return transaction.Query("SELECT max(full_steps) FROM build_workspaces WHERE config_key = ?",
                             config_key, [&](const state::Row& row) {
                               steps = row.Integer(0);
                               return absl::OkStatus();
                             });
  }));
  return steps;
}

absl::Status BuildTable::Remember(std::string_view workspace_id, const WorkspaceMemory& memory) {
  const state::Value begun =
      memory.begun_steps ? state::ToValue(*memory.begun_steps) : state::Value(state::Null());
  return database_.Write([&](state::Transaction& transaction) {
    return transaction
        .ExecuteValues(
            "INSERT OR REPLACE INTO build_workspaces (id, config_key, tree, full_steps, "
            "incremental_steps, begun_steps) VALUES (?, ?, ?, ?, ?, ?)",
            {ToValue(workspace_id), ToValue(memory.config_key), ToValue(memory.tree),
             ToValue(memory.full_steps), ToValue(memory.incremental_steps), begun})
        .status();
  });
}

absl::Status BuildTable::SetIndexWanted(state::Transaction& transaction,
                                        std::string_view artifact_id) {
  return transaction.Execute("INSERT OR IGNORE INTO build_indexes_wanted VALUES (?)", artifact_id)
      .status();
}

absl::Status BuildTable::SetIndexDone(std::string_view artifact_id) {
  return database_.Write([&](state::Transaction& transaction) {
    return transaction
        .Execute("DELETE FROM build_indexes_wanted WHERE artifact_id = ?", artifact_id)
        .status();
  });
}

absl::StatusOr<std::vector<std::string>> BuildTable::IndexesWanted() const {
  std::vector<std::string> ids;
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) {
    return transaction.Query("SELECT artifact_id FROM build_indexes_wanted",
                             [&](const state::Row& row) {
                               ids.push_back(row.Text(0));
                               return absl::OkStatus();
                             });
  }));
  return ids;
}

}  // namespace kdbg::build
