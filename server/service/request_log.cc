#include "server/service/request_log.h"

#include <fmt/format.h>

#include "absl/cleanup/cleanup.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::service {
namespace {

constexpr absl::Duration kKeepFor = absl::Hours(24);

constexpr state::Migration kMigrations[] = {{"service", 1, R"sql(
CREATE TABLE service_requests (
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  resource TEXT NOT NULL,
  time INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX service_requests_by_time ON service_requests (time);
)sql"}};

}  // namespace

std::span<const state::Migration> RequestLog::Migrations() { return kMigrations; }

struct RequestLog::Turn {
  const RequestLog* log;
  const std::string* key;
  static bool IsFree(Turn* turn) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return !turn->log->at_work_.contains(*turn->key);
  }
};

absl::StatusOr<std::string> RequestLog::Once(
    const std::string& user, std::string_view method, const std::string& request_id,
    const std::string& fingerprint, absl::FunctionRef<absl::StatusOr<std::string>()> create) {
  if (request_id.empty()) return create();
  const std::string key = fmt::format("{}\n{}\n{}", user, method, request_id);
  Turn turn{this, &key};
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&Turn::IsFree, &turn));
    at_work_.insert(key);
  }
  const absl::Cleanup leave = [this, &key] {
    absl::MutexLock lock(&mutex_);
    at_work_.erase(key);
  };
  absl::StatusOr<std::string> made = Find(key, fingerprint);
  if (!absl::IsNotFound(made.status())) return made;
  made = create();
  if (!made.ok()) return made;
  // What was made is there whether or not it can be noted.
  if (const absl::Status noted = Note(key, fingerprint, *made); !noted.ok()) {
    spdlog::warn("cannot note request {}: {}", request_id, std::string(noted.message()));
  }
  return made;
}

absl::StatusOr<std::string> RequestLog::Find(const std::string& key,
                                             const std::string& fingerprint) const {
  absl::StatusOr<std::string> result = absl::NotFoundError("a new request");
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) {
    return transaction.Query(
        "SELECT resource, fingerprint FROM service_requests WHERE key = ? AND time > ?", key,
        clock_.Now() - kKeepFor, [&](const state::Row& row) {
          if (row.Text(1) == fingerprint) {
            result = row.Text(0);
          } else {
            result = InvalidField("request_id", "",
                                  "request_id was used for another request within the last day: "
                                  "take a new one");
          }
          return absl::OkStatus();
        });
  }));
  return result;
}

absl::Status RequestLog::Note(const std::string& key, const std::string& fingerprint,
                              const std::string& resource) {
  const absl::Time now = clock_.Now();
  return database_.Write([&](state::Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(
        transaction.Execute("DELETE FROM service_requests WHERE time <= ?", now - kKeepFor)
            .status());
    return transaction
        .Execute("INSERT OR REPLACE INTO service_requests VALUES (?, ?, ?, ?)", key, fingerprint,
                 resource, now)
        .status();
  });
}

}  // namespace kdbg::service
