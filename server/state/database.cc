#include "server/state/database.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::state {
namespace {

constexpr int kBusyMilliseconds = 10'000;

absl::Status Translate(const SQLite::Exception& error, int system_error) {
  const int code = error.getErrorCode();
  const std::string text = fmt::format("state database: {}", error.what());
  if (code == SQLITE_FULL || (code == SQLITE_IOERR && system_error == ENOSPC)) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                     text + "; free space below the state directory and try again");
  }
  switch (code) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                       text + "; restore it from a copy, or move it away to start empty");
    case SQLITE_CONSTRAINT:
      if (error.getExtendedErrorCode() == SQLITE_CONSTRAINT_UNIQUE ||
          error.getExtendedErrorCode() == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return absl::AlreadyExistsError(text);
      }
      return absl::FailedPreconditionError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return absl::UnavailableError(text);
    default:
      return absl::InternalError(text);
  }
}

// Runs `work`, which may throw what SQLiteCpp throws, and makes a Status of it.
template <typename Work>
absl::Status Guarded(const SQLite::Database* database, Work&& work) {
  try {
    return work();
  } catch (const SQLite::Exception& error) {
    return Translate(error, database != nullptr ? sqlite3_system_errno(database->getHandle()) : 0);
  } catch (const std::exception& error) {
    return absl::InternalError(fmt::format("state database: {}", error.what()));
  }
}

void Bind(SQLite::Statement& statement, const std::vector<Value>& values) {
  int index = 0;
  for (const Value& value : values) {
    ++index;
    std::visit(
        [&](const auto& v) {
          if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Null>) {
            statement.bind(index);
          } else {
            statement.bind(index, v);
          }
        },
        value);
  }
}

class StatementRow final : public Row {
 public:
  explicit StatementRow(const SQLite::Statement& statement) : statement_(statement) {}
  bool IsNull(int column) const override { return statement_.getColumn(column).isNull(); }
  std::int64_t Integer(int column) const override {
    return statement_.getColumn(column).getInt64();
  }
  double Real(int column) const override { return statement_.getColumn(column).getDouble(); }
  std::string Text(int column) const override { return statement_.getColumn(column).getString(); }

 private:
  const SQLite::Statement& statement_;
};

// One SQLite connection with its prepared statements; used by one thread at a time.
class Connection {
 public:
  Connection(const std::string& path, int flags) : database_(path, flags, kBusyMilliseconds) {
    database_.exec("PRAGMA foreign_keys = ON");
  }

  SQLite::Database& database() { return database_; }

  // Out of the cache while in use, so that a callback may run the same text again.
  std::unique_ptr<SQLite::Statement> Take(const std::string& sql) {
    const auto found = statements_.find(sql);
    if (found == statements_.end()) return std::make_unique<SQLite::Statement>(database_, sql);
    auto statement = std::move(found->second);
    statements_.erase(found);
    return statement;
  }
  void Return(const std::string& sql, std::unique_ptr<SQLite::Statement> statement) {
    statement->tryReset();
    statement->clearBindings();
    statements_[sql] = std::move(statement);
  }

 private:
  SQLite::Database database_;
  std::map<std::string, std::unique_ptr<SQLite::Statement>> statements_;
};

class ConnectionTransaction final : public Transaction {
 public:
  explicit ConnectionTransaction(Connection& connection) : connection_(connection) {}

  absl::StatusOr<std::int64_t> ExecuteValues(std::string_view sql,
                                             std::vector<Value> values) override {
    std::int64_t changed = 0;
    KDBG_RETURN_IF_ERROR(Run(sql, values, [&](SQLite::Statement& statement) {
      while (statement.executeStep()) {
      }
      changed = connection_.database().getChanges();
      return absl::OkStatus();
    }));
    return changed;
  }

  absl::Status QueryValues(std::string_view sql, std::vector<Value> values,
                           RowCallback callback) override {
    return Run(sql, values, [&](SQLite::Statement& statement) {
      const StatementRow row(statement);
      while (statement.executeStep()) {
        KDBG_RETURN_IF_ERROR(callback(row));
      }
      return absl::OkStatus();
    });
  }

  void AfterCommit(std::function<void()> action) override {
    after_commit_.push_back(std::move(action));
  }
  std::vector<std::function<void()>> TakeActions() { return std::move(after_commit_); }

 private:
  absl::Status Run(std::string_view sql, const std::vector<Value>& values,
                   absl::FunctionRef<absl::Status(SQLite::Statement&)> work) {
    return Guarded(&connection_.database(), [&]() -> absl::Status {
      const std::string text(sql);
      auto statement = connection_.Take(text);
      Bind(*statement, values);
      absl::Status status = work(*statement);
      connection_.Return(text, std::move(statement));
      return status;
    });
  }

  Connection& connection_;
  std::vector<std::function<void()>> after_commit_;
};

class SqliteDatabase final : public Database {
 public:
  SqliteDatabase(std::string path, UniqueFd lock, std::unique_ptr<Connection> writer)
      : path_(std::move(path)), lock_(std::move(lock)), writer_(std::move(writer)) {}

  absl::Status Write(Body body) override {
    {
      absl::MutexLock lock(&write_mutex_);
      ConnectionTransaction transaction(*writer_);
      KDBG_RETURN_IF_ERROR(InTransaction(*writer_, "BEGIN IMMEDIATE", transaction, body));
      // Queued under the lock, so that actions keep the order of commits.
      const std::lock_guard queue_lock(queue_mutex_);
      for (auto& action : transaction.TakeActions()) queue_.push_back(std::move(action));
    }
    Deliver();
    return absl::OkStatus();
  }

  absl::Status Read(Body body) const override {
    std::unique_ptr<Connection> connection;
    {
      absl::MutexLock lock(&read_mutex_);
      if (!readers_.empty()) {
        connection = std::move(readers_.back());
        readers_.pop_back();
      }
    }
    if (!connection) {
      KDBG_RETURN_IF_ERROR(Guarded(nullptr, [&] {
        connection = std::make_unique<Connection>(path_, SQLite::OPEN_READONLY);
        return absl::OkStatus();
      }));
    }
    ConnectionTransaction transaction(*connection);
    const absl::Status status = InTransaction(*connection, "BEGIN", transaction, body);
    absl::MutexLock lock(&read_mutex_);
    readers_.push_back(std::move(connection));
    return status;
  }

  static absl::Status InTransaction(Connection& connection, const char* begin,
                                    ConnectionTransaction& transaction, Body body) {
    SQLite::Database& database = connection.database();
    absl::Status status = Guarded(&database, [&]() -> absl::Status {
      database.exec(begin);
      KDBG_RETURN_IF_ERROR(body(transaction));
      database.exec("COMMIT");
      return absl::OkStatus();
    });
    // SQLite has rolled back by itself after some errors (a full disk among them).
    if (!status.ok() && sqlite3_get_autocommit(database.getHandle()) == 0) {
      database.tryExec("ROLLBACK");
    }
    return status;
  }

 private:
  void Deliver() {
    std::unique_lock lock(queue_mutex_);
    if (delivering_) return;  // the thread that delivers comes to ours
    delivering_ = true;
    while (!queue_.empty()) {
      const std::function<void()> action = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      action();
      lock.lock();
    }
    delivering_ = false;
  }

  const std::string path_;
  const UniqueFd lock_;
  absl::Mutex write_mutex_;
  const std::unique_ptr<Connection> writer_ ABSL_PT_GUARDED_BY(write_mutex_);
  mutable absl::Mutex read_mutex_;
  mutable std::vector<std::unique_ptr<Connection>> readers_ ABSL_GUARDED_BY(read_mutex_);
  std::mutex queue_mutex_;
  std::deque<std::function<void()>> queue_;
  bool delivering_ = false;
};

absl::Status QuickCheck(SQLite::Database& database, const std::string& path) {
  SQLite::Statement check(database, "PRAGMA quick_check(1)");
  const std::string answer = check.executeStep() ? check.getColumn(0).getString() : "no answer";
  if (answer == "ok") return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                   fmt::format("state database {} is damaged ({}); restore it from a copy, or move "
                               "it away to start empty",
                               path, answer));
}

absl::StatusOr<int> AppliedVersion(Transaction& transaction, std::string_view module) {
  int version = 0;
  KDBG_RETURN_IF_ERROR(transaction.Query("SELECT version FROM kdbg_migrations WHERE module = ?",
                                         module, [&](const Row& row) {
                                           version = static_cast<int>(row.Integer(0));
                                           return absl::OkStatus();
                                         }));
  return version;
}

absl::Status ApplyMigration(Connection& connection, const Migration& migration) {
  ConnectionTransaction transaction(connection);
  return SqliteDatabase::InTransaction(
      connection, "BEGIN IMMEDIATE", transaction, [&](Transaction&) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const int applied, AppliedVersion(transaction, migration.module));
        if (migration.version <= applied) return absl::OkStatus();
        if (migration.version != applied + 1) {
          return absl::InternalError(fmt::format("migrations of {} jump from {} to {}",
                                                 migration.module, applied, migration.version));
        }
        connection.database().exec(std::string(migration.sql));
        return transaction
            .Execute("INSERT OR REPLACE INTO kdbg_migrations (module, version) VALUES (?, ?)",
                     migration.module, migration.version)
            .status();
      });
}

absl::Status RefuseNewer(Connection& connection, std::span<const Migration> migrations) {
  std::map<std::string, int, std::less<>> known;
  for (const Migration& migration : migrations) {
    int& version = known[std::string(migration.module)];
    version = std::max(version, migration.version);
  }
  ConnectionTransaction transaction(connection);
  for (const auto& [module, version] : known) {
    KDBG_ASSIGN_OR_RETURN(const int applied, AppliedVersion(transaction, module));
    if (applied > version) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                       fmt::format("the state database was written by a newer kdbgd ({} is at "
                                   "version {}, this one knows {}); run that one",
                                   module, applied, version));
    }
  }
  return absl::OkStatus();
}

// Held for as long as the database is open: two daemons on one state directory would clean up after
// each other.
absl::StatusOr<UniqueFd> LockState(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return ErrnoError(errno, "open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(errno, "lock " + path);
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     fmt::format("another kdbgd uses this state directory ({} is locked); stop it, "
                                 "or name another state_dir",
                                 path));
  }
  return fd;
}

}  // namespace

std::string Placeholders(std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) all += i == 0 ? "?" : ",?";
  return all;
}

Value ToValue(absl::Time time) { return static_cast<std::int64_t>(absl::ToUnixMicros(time)); }

Value ToValue(std::optional<absl::Time> time) { return time ? ToValue(*time) : Value(Null{}); }

Value ToValue(std::string_view text) { return std::string(text); }

Value ToValue(double number) { return number; }

absl::Time Row::Time(int column) const { return absl::FromUnixMicros(Integer(column)); }

std::optional<absl::Time> Row::OptionalTime(int column) const {
  if (IsNull(column)) return std::nullopt;
  return Time(column);
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path,
                                                         std::span<const Migration> migrations) {
  KDBG_ASSIGN_OR_RETURN(UniqueFd lock, LockState(path.string() + ".lock"));
  std::unique_ptr<Connection> writer;
  KDBG_RETURN_IF_ERROR(Guarded(nullptr, [&]() -> absl::Status {
    writer =
        std::make_unique<Connection>(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Database& database = writer->database();
    KDBG_RETURN_IF_ERROR(QuickCheck(database, path.string()));
    database.exec("PRAGMA journal_mode = WAL");
    // What was acknowledged is on disk, also after a power cut.
    database.exec("PRAGMA synchronous = FULL");
    database.exec(
        "CREATE TABLE IF NOT EXISTS kdbg_migrations "
        "(module TEXT PRIMARY KEY, version INTEGER NOT NULL)");
    return absl::OkStatus();
  }));
  KDBG_RETURN_IF_ERROR(RefuseNewer(*writer, migrations));
  for (const Migration& migration : migrations) {
    KDBG_RETURN_IF_ERROR(ApplyMigration(*writer, migration));
  }
  return std::make_unique<SqliteDatabase>(path.string(), std::move(lock), std::move(writer));
}

}  // namespace kdbg::state
