#include "server/access/grants.h"

#include <fmt/format.h>

#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::access {
namespace {

constexpr std::size_t kMostUsers = 100;  // of one resource

constexpr state::Migration kMigrations[] = {{
    .module = "grants",
    .version = 1,
    .sql = "CREATE TABLE grants (resource TEXT NOT NULL, user TEXT NOT NULL, "
           "PRIMARY KEY (resource, user)) WITHOUT ROWID",
}};

}  // namespace

std::span<const state::Migration> Grants::Migrations() { return kMigrations; }

absl::StatusOr<std::unique_ptr<Grants>> Grants::Open(state::Database& database) {
  std::unique_ptr<Grants> grants(new Grants(database));
  decltype(users_) users;
  KDBG_RETURN_IF_ERROR(database.Read([&](state::Transaction& transaction) {
    return transaction.Query("SELECT resource, user FROM grants", [&](const state::Row& row) {
      users[row.Text(0)].insert(row.Text(1));
      return absl::OkStatus();
    });
  }));
  absl::MutexLock lock(&grants->mutex_);
  grants->users_ = std::move(users);
  return grants;
}

absl::Status Grants::Grant(const std::string& resource, const std::string& user) {
  absl::MutexLock lock(&mutex_);
  auto& users = users_[resource];
  if (users.contains(user)) return absl::OkStatus();
  if (users.size() >= kMostUsers) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                     fmt::format("{} is shared with {} users already, the most there may be: take "
                                 "it back from one",
                                 resource, kMostUsers));
  }
  KDBG_RETURN_IF_ERROR(database_.Write([&](state::Transaction& transaction) {
    return transaction.Execute("INSERT INTO grants (resource, user) VALUES (?, ?)", resource, user)
        .status();
  }));
  users.insert(user);
  return absl::OkStatus();
}

absl::Status Grants::TakeBack(const std::string& resource, const std::string& user) {
  absl::MutexLock lock(&mutex_);
  KDBG_RETURN_IF_ERROR(database_.Write([&](state::Transaction& transaction) {
    return transaction.Execute("DELETE FROM grants WHERE resource = ? AND user = ?", resource, user)
        .status();
  }));
  if (const auto found = users_.find(resource); found != users_.end()) found->second.erase(user);
  return absl::OkStatus();
}

absl::Status Grants::Forget(const std::string& resource) {
  absl::MutexLock lock(&mutex_);
  const auto found = users_.find(resource);
  if (found == users_.end()) return absl::OkStatus();
  KDBG_RETURN_IF_ERROR(database_.Write([&](state::Transaction& transaction) {
    return transaction.Execute("DELETE FROM grants WHERE resource = ?", resource).status();
  }));
  users_.erase(found);
  return absl::OkStatus();
}

bool Grants::Has(std::string_view resource, std::string_view user) const {
  absl::MutexLock lock(&mutex_);
  const auto found = users_.find(resource);
  return found != users_.end() && found->second.contains(user);
}

std::vector<std::string> Grants::UsersOf(std::string_view resource) const {
  absl::MutexLock lock(&mutex_);
  const auto found = users_.find(resource);
  if (found == users_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

std::vector<std::string> Grants::ResourcesOf(std::string_view user) const {
  absl::MutexLock lock(&mutex_);
  std::vector<std::string> resources;
  for (const auto& [resource, users] : users_) {
    if (users.contains(user)) resources.push_back(resource);
  }
  return resources;
}

}  // namespace kdbg::access
