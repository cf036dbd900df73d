#include "server/session/session_table.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"

namespace kdbg::session {
namespace {

constexpr std::string_view kCreate = R"(
CREATE TABLE sessions (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  owner TEXT NOT NULL,
  kernel_artifact TEXT NOT NULL,
  initramfs_artifact TEXT NOT NULL,
  kernel_build TEXT NOT NULL,
  initramfs_build TEXT NOT NULL,
  vcpu_count INTEGER NOT NULL,
  memory_mib INTEGER NOT NULL,
  accelerator_choice INTEGER NOT NULL,
  randomize_base INTEGER NOT NULL,
  stop_kind INTEGER NOT NULL,
  stop_symbol TEXT NOT NULL,
  kernel_arguments TEXT NOT NULL,
  gdb_host TEXT NOT NULL,
  gdb_port INTEGER NOT NULL,
  command_line TEXT NOT NULL,
  accelerator TEXT NOT NULL,
  create_time INTEGER NOT NULL,
  state INTEGER NOT NULL,
  failure_fault INTEGER,
  failure_reason TEXT,
  failure_message TEXT,
  failure_excerpt TEXT,
  stopped_at TEXT NOT NULL,
  end_reason TEXT NOT NULL,
  console_size INTEGER NOT NULL,
  ready_time INTEGER,
  expire_time INTEGER NOT NULL,
  end_time INTEGER,
  create_us INTEGER NOT NULL,
  boot_us INTEGER NOT NULL,
  request_id TEXT
);
CREATE UNIQUE INDEX sessions_by_request ON sessions (owner, request_id);
CREATE INDEX sessions_by_owner ON sessions (owner, sequence);
CREATE INDEX sessions_by_state ON sessions (state);
)";

constexpr std::string_view kAddExpiry =
    "ALTER TABLE sessions ADD COLUMN expire_monotonic_us INTEGER NOT NULL DEFAULT 0";

constexpr std::string_view kAddShares = R"(
CREATE TABLE session_shares (
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  user TEXT NOT NULL,
  access INTEGER NOT NULL,
  PRIMARY KEY (session, user)
) WITHOUT ROWID;
CREATE INDEX session_shares_by_user ON session_shares (user);
)";

constexpr std::string_view kAddOrigin = R"(
ALTER TABLE sessions ADD COLUMN origin INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN template_key TEXT NOT NULL DEFAULT '';
)";

constexpr std::string_view kAddSavedState =
    "ALTER TABLE sessions ADD COLUMN saved_state TEXT NOT NULL DEFAULT ''";

constexpr std::string_view kAddOrders = R"(
ALTER TABLE sessions ADD COLUMN on_panic INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN on_expiry INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN last_dump TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN dump_failure TEXT NOT NULL DEFAULT '';
)";

constexpr std::string_view kAddNetwork = R"(
ALTER TABLE sessions ADD COLUMN has_network INTEGER NOT NULL DEFAULT 0;
CREATE TABLE session_forwards (
  session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  guest_port INTEGER NOT NULL,
  host_port INTEGER NOT NULL,
  PRIMARY KEY (session, guest_port)
) WITHOUT ROWID;
)";

constexpr std::string_view kAddDisk = R"(
ALTER TABLE sessions ADD COLUMN disk_image TEXT NOT NULL DEFAULT '';
)";

constexpr std::string_view kAddFolderAndDevices = R"(
ALTER TABLE sessions ADD COLUMN folder_upload TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN devices TEXT NOT NULL DEFAULT '';
)";

constexpr state::Migration kMigrations[] = {
    {.module = "session", .version = 1, .sql = kCreate},
    {.module = "session", .version = 2, .sql = kAddExpiry},
    {.module = "session", .version = 3, .sql = kAddShares},
    {.module = "session", .version = 4, .sql = kAddOrigin},
    {.module = "session", .version = 5, .sql = kAddSavedState},
    {.module = "session", .version = 6, .sql = kAddOrders},
    {.module = "session", .version = 7, .sql = kAddNetwork},
    {.module = "session", .version = 8, .sql = kAddDisk},
    {.module = "session", .version = 9, .sql = kAddFolderAndDevices},
};

constexpr std::string_view kColumns =
    "sequence, id, owner, kernel_artifact, initramfs_artifact, kernel_build, initramfs_build, "
    "vcpu_count, memory_mib, accelerator_choice, randomize_base, stop_kind, stop_symbol, "
    "kernel_arguments, gdb_host, gdb_port, command_line, accelerator, create_time, state, "
    "failure_fault, failure_reason, failure_message, failure_excerpt, stopped_at, end_reason, "
    "console_size, ready_time, expire_time, end_time, create_us, boot_us, "
    "expire_monotonic_us, origin, template_key, saved_state, on_panic, on_expiry, "
    "last_dump, dump_failure, has_network, disk_image, folder_upload, devices";

std::string SymbolOf(const StopChoice& stop) {
  const auto* symbol = std::get_if<SymbolStop>(&stop);
  return symbol != nullptr ? symbol->symbol : std::string();
}

StopChoice StopOf(std::int64_t kind, std::string symbol) {
  switch (kind) {
    case 0:
      return SymbolStop{.symbol = std::move(symbol)};
    case 1:
      return ShellStop{};
    case 2:
      return ResetStop{};
    default:
      return NoStop{};
  }
}

SessionRecord FromRow(const state::Row& row) {
  int column = 0;
  SessionRecord record;
  record.sequence = row.Integer(column++);
  record.id = row.Text(column++);
  record.owner = row.Text(column++);
  record.request.kernel_artifact = row.Text(column++);
  record.request.initramfs_artifact = row.Text(column++);
  record.request.kernel_build = row.Text(column++);
  record.request.initramfs_build = row.Text(column++);
  record.request.vcpu_count = static_cast<int>(row.Integer(column++));
  record.request.memory_mib = row.Integer(column++);
  record.request.accelerator = row.As<AcceleratorChoice>(column++);
  record.request.randomize_base = row.Integer(column++) != 0;
  const std::int64_t stop_kind = row.Integer(column++);
  record.request.stop = StopOf(stop_kind, row.Text(column++));
  record.request.kernel_arguments = row.Text(column++);
  record.gdb_host = row.Text(column++);
  record.gdb_port = static_cast<int>(row.Integer(column++));
  record.command_line = row.Text(column++);
  record.accelerator = row.Text(column++);
  record.create_time = row.Time(column++);
  record.state = row.As<SessionState>(column++);
  if (row.IsNull(column)) {
    column += 4;
  } else {
    SessionFailure failure;
    failure.fault = row.As<Fault>(column++);
    failure.reason = row.Text(column++);
    failure.message = row.Text(column++);
    failure.excerpt = row.Text(column++);
    record.failure = std::move(failure);
  }
  record.stopped_at = row.Text(column++);
  record.end_reason = row.Text(column++);
  record.console_size_bytes = row.Integer(column++);
  record.ready_time = row.OptionalTime(column++);
  record.expire_time = row.Time(column++);
  record.end_time = row.OptionalTime(column++);
  record.create_duration = absl::Microseconds(row.Integer(column++));
  record.boot_duration = absl::Microseconds(row.Integer(column++));
  record.expire_monotonic = absl::Microseconds(row.Integer(column++));
  record.origin = row.As<Origin>(column++);
  record.template_key = row.Text(column++);
  record.request.saved_state = row.Text(column++);
  record.request.on_panic = row.As<OnPanic>(column++);
  record.request.on_expiry = row.As<OnExpiry>(column++);
  record.last_dump = row.Text(column++);
  record.dump_failure = row.Text(column++);
  if (row.Integer(column++) != 0) record.request.network.emplace();
  record.request.disk_image = row.Text(column++);
  record.request.folder_upload = row.Text(column++);
  record.request.devices = absl::StrSplit(row.Text(column++), ' ', absl::SkipEmpty());
  return record;
}

absl::Status LoadForwards(state::Transaction& transaction, SessionRecord& record) {
  if (!record.request.network) return absl::OkStatus();
  return transaction.Query(
      "SELECT guest_port, host_port FROM session_forwards WHERE session = ? ORDER BY guest_port",
      record.id, [&](const state::Row& row) {
        record.request.network->forwards.push_back({.guest_port = static_cast<int>(row.Integer(0)),
                                                    .host_port = static_cast<int>(row.Integer(1))});
        return absl::OkStatus();
      });
}

absl::Status StoreForwards(state::Transaction& transaction, const SessionRecord& record) {
  if (!record.request.network) return absl::OkStatus();
  for (const vm::PortForward& forward : record.request.network->forwards) {
    KDBG_RETURN_IF_ERROR(
        transaction
            .Execute("INSERT OR REPLACE INTO session_forwards (session, guest_port, host_port) "
                     "VALUES (?, ?, ?)",
                     record.id, forward.guest_port, forward.host_port)
            .status());
  }
  return absl::OkStatus();
}

template <typename... Args>
absl::StatusOr<std::vector<SessionRecord>> Load(state::Transaction& transaction,
                                                std::string_view tail, const Args&... args) {
  std::vector<SessionRecord> records;
  KDBG_RETURN_IF_ERROR(transaction.Query(fmt::format("SELECT {} FROM sessions {}", kColumns, tail),
                                         args..., [&](const state::Row& row) {
                                           records.push_back(FromRow(row));
                                           return absl::OkStatus();
                                         }));
  for (SessionRecord& record : records) {
    KDBG_RETURN_IF_ERROR(LoadForwards(transaction, record));
    KDBG_RETURN_IF_ERROR(transaction.Query(
        "SELECT user, access FROM session_shares WHERE session = ? ORDER BY user", record.id,
        [&](const state::Row& row) {
          record.shares.push_back({.user = row.Text(0), .access = row.As<SessionShare::Access>(1)});
          return absl::OkStatus();
        }));
  }
  return records;
}

absl::Status StoreShares(state::Transaction& transaction, const SessionRecord& record) {
  KDBG_RETURN_IF_ERROR(
      transaction.Execute("DELETE FROM session_shares WHERE session = ?", record.id).status());
  for (const SessionShare& share : record.shares) {
    KDBG_RETURN_IF_ERROR(transaction
                             .Execute("INSERT INTO session_shares (session, user, access) VALUES "
                                      "(?, ?, ?)",
                                      record.id, share.user, share.access)
                             .status());
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const state::Migration> SessionMigrations() { return kMigrations; }

absl::Status InsertSession(state::Transaction& transaction, SessionRecord& record) {
  const SessionRequest& request = record.request;
  KDBG_RETURN_IF_ERROR(
      transaction
          .Execute(
              "INSERT INTO sessions (id, owner, kernel_artifact, initramfs_artifact, "
              "kernel_build, initramfs_build, vcpu_count, memory_mib, accelerator_choice, "
              "randomize_base, stop_kind, stop_symbol, kernel_arguments, gdb_host, gdb_port, "
              "command_line, accelerator, create_time, state, stopped_at, end_reason, "
              "console_size, expire_time, expire_monotonic_us, create_us, boot_us, request_id, "
              "saved_state, on_panic, on_expiry, has_network, disk_image, folder_upload, "
              "devices) "
              "VALUES "
              "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,'','',0,?,?,0,0,NULLIF(?, ''),?,?,?,?,?,?,?)",
              record.id, record.owner, request.kernel_artifact, request.initramfs_artifact,
              request.kernel_build, request.initramfs_build, request.vcpu_count, request.memory_mib,
              request.accelerator, request.randomize_base, request.stop.index(),
              SymbolOf(request.stop), request.kernel_arguments, record.gdb_host, record.gdb_port,
              record.command_line, record.accelerator, record.create_time, record.state,
              record.expire_time, absl::ToInt64Microseconds(record.expire_monotonic),
              request.request_id, request.saved_state, request.on_panic, request.on_expiry,
              request.network.has_value(), request.disk_image, request.folder_upload,
              absl::StrJoin(request.devices, " "))
          .status());
  KDBG_RETURN_IF_ERROR(StoreForwards(transaction, record));
  return transaction.Query("SELECT sequence FROM sessions WHERE id = ?", record.id,
                           [&](const state::Row& row) {
                             record.sequence = row.Integer(0);
                             return absl::OkStatus();
                           });
}

absl::Status UpdateSession(state::Transaction& transaction, const SessionRecord& record) {
  KDBG_RETURN_IF_ERROR(
      transaction
          .Execute("UPDATE sessions SET state = ?, failure_fault = NULL, stopped_at = ?, "
                   "end_reason = ?, console_size = ?, ready_time = ?, expire_time = ?, "
                   "expire_monotonic_us = ?, gdb_port = ?, end_time = ?, create_us = ?, "
                   "boot_us = ?, origin = ?, template_key = ?, last_dump = ?, dump_failure = ? "
                   "WHERE id = ?",
                   record.state, record.stopped_at, record.end_reason, record.console_size_bytes,
                   record.ready_time, record.expire_time,
                   absl::ToInt64Microseconds(record.expire_monotonic), record.gdb_port,
                   record.end_time, absl::ToInt64Microseconds(record.create_duration),
                   absl::ToInt64Microseconds(record.boot_duration), record.origin,
                   record.template_key, record.last_dump, record.dump_failure, record.id)
          .status());
  KDBG_RETURN_IF_ERROR(StoreShares(transaction, record));
  KDBG_RETURN_IF_ERROR(StoreForwards(transaction, record));
  if (!record.failure) return absl::OkStatus();
  return transaction
      .Execute(
          "UPDATE sessions SET failure_fault = ?, failure_reason = ?, failure_message = ?, "
          "failure_excerpt = ? WHERE id = ?",
          record.failure->fault, record.failure->reason, record.failure->message,
          record.failure->excerpt, record.id)
      .status();
}

namespace {

template <typename Action>
absl::Status ForEachArtifact(const SessionRecord& record, Action action) {
  for (const std::string& artifact :
       {record.request.kernel_artifact, record.request.initramfs_artifact,
        record.request.saved_state}) {
    if (!artifact.empty()) KDBG_RETURN_IF_ERROR(action(artifact, "session " + record.id));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TakePins(state::Transaction& transaction, store::ArtifactStore& artifacts,
                      const SessionRecord& record) {
  return ForEachArtifact(record, [&](const std::string& artifact, const std::string& holder) {
    return artifacts.Pin(transaction, artifact, holder);
  });
}

absl::Status ReleasePins(state::Transaction& transaction, store::ArtifactStore& artifacts,
                         const SessionRecord& record) {
  return ForEachArtifact(record, [&](const std::string& artifact, const std::string& holder) {
    return artifacts.Unpin(transaction, artifact, holder);
  });
}

absl::StatusOr<SessionRecord> LoadSession(state::Transaction& transaction, std::string_view id) {
  KDBG_ASSIGN_OR_RETURN(std::vector<SessionRecord> found, Load(transaction, "WHERE id = ?", id));
  if (found.empty()) return ResourceNotFound(ResourceName(kSessions, id));
  return std::move(found.front());
}

absl::StatusOr<std::optional<SessionRecord>> FindRequest(state::Transaction& transaction,
                                                         std::string_view owner,
                                                         std::string_view request_id) {
  if (request_id.empty()) return std::nullopt;
  KDBG_ASSIGN_OR_RETURN(std::vector<SessionRecord> found,
                        Load(transaction, "WHERE owner = ? AND request_id = ?", owner, request_id));
  if (found.empty()) return std::nullopt;
  return std::move(found.front());
}

absl::StatusOr<std::vector<SessionRecord>> LoadSessions(state::Transaction& transaction,
                                                        const Sessions::ListQuery& query) {
  return Load(transaction,
              "WHERE (? = 0 OR sequence < ?) AND (? = 0 OR owner = ? OR id IN "
              "(SELECT session FROM session_shares WHERE user = ?)) AND "
              "(? = 1 OR end_time IS NULL) ORDER BY sequence DESC LIMIT ?",
              query.before_sequence, query.before_sequence, query.owner.has_value(),
              query.owner.value_or(""), query.owner.value_or(""), query.include_ended, query.limit);
}

absl::StatusOr<std::vector<SessionRecord>> LoadUnfinished(state::Transaction& transaction) {
  return Load(transaction, "WHERE end_time IS NULL ORDER BY sequence");
}

std::string_view ToString(SessionState state) {
  switch (state) {
    case SessionState::kCreating:
      return "CREATING";
    case SessionState::kBooting:
      return "BOOTING";
    case SessionState::kReady:
      return "READY";
    case SessionState::kEnding:
      return "ENDING";
    case SessionState::kEnded:
      return "ENDED";
    case SessionState::kCrashed:
      return "CRASHED";
    case SessionState::kFailed:
      return "FAILED";
    case SessionState::kQueued:
      return "QUEUED";
  }
  return "?";
}

}  // namespace kdbg::session
