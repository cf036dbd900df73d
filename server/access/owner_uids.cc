#include "server/access/owner_uids.h"

#include <fmt/format.h>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::access {
namespace {

// Places count from 0, so that the range may be moved while nothing runs.
constexpr state::Migration kMigrations[] = {{
    .module = "access",
    .version = 1,
    .sql = "CREATE TABLE owner_uids (owner TEXT PRIMARY KEY, place INTEGER NOT NULL UNIQUE)",
}};

host::Identity IdentityOf(uid_t uid) { return {.uid = uid, .gid = static_cast<gid_t>(uid)}; }

}  // namespace

std::span<const state::Migration> OwnerUids::Migrations() { return kMigrations; }

absl::StatusOr<std::optional<host::Identity>> OwnerUids::For(std::string_view owner) {
  if (range_.count == 0) return std::nullopt;
  absl::MutexLock lock(&mutex_);
  if (const auto found = known_.find(owner); found != known_.end()) {
    return IdentityOf(found->second);
  }
  KDBG_ASSIGN_OR_RETURN(const std::int64_t place, FindOrAdd(owner));
  if (place >= range_.count) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                     fmt::format("all {} uids for owners are in use; the admin can widen "
                                 "server.owner_uid_count",
                                 range_.count));
  }
  const uid_t uid = static_cast<uid_t>(range_.first + place);
  known_.emplace(owner, uid);
  return IdentityOf(uid);
}

absl::StatusOr<std::int64_t> OwnerUids::FindOrAdd(std::string_view owner) {
  std::int64_t place = -1;
  KDBG_RETURN_IF_ERROR(database_.Write([&](state::Transaction& transaction) {
    KDBG_RETURN_IF_ERROR(transaction
                             .Execute("INSERT INTO owner_uids (owner, place) SELECT ?, "
                                      "(SELECT COALESCE(MAX(place) + 1, 0) FROM owner_uids) "
                                      "WHERE NOT EXISTS (SELECT 1 FROM owner_uids WHERE owner = ?)",
                                      owner, owner)
                             .status());
    return transaction.Query("SELECT place FROM owner_uids WHERE owner = ?", owner,
                             [&](const state::Row& row) {
                               place = row.Integer(0);
                               return absl::OkStatus();
                             });
  }));
  return place;
}

}  // namespace kdbg::access
