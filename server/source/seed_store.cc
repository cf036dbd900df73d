#include "server/source/seed_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <system_error>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/base/disk_error.h"
#include "server/base/ids.h"
#include "server/observe/log.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using state::Row;
using state::Transaction;

constexpr state::Migration kMigrations[] = {
    {"seeds", 1, R"sql(
      CREATE TABLE seeds (
        id TEXT PRIMARY KEY,
        key TEXT NOT NULL,
        tree TEXT NOT NULL,
        create_time INTEGER NOT NULL,
        last_used_time INTEGER NOT NULL);
      CREATE INDEX seeds_by_key ON seeds (key);
    )sql"},
};

// With more files to compile anew, what a seed saves is not worth its copy.
constexpr std::size_t kMostDifferences = 5000;

// A seed outlives the machine's next crash whole, or is not there.
absl::Status SyncAll(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::syncfs(fd.get()) != 0) return DiskError(errno, "sync", path);
  return absl::OkStatus();
}

}  // namespace

class SeedStore::Use {
 public:
  Use(SeedStore& store, std::string id) : store_(store), id_(std::move(id)) {
    absl::MutexLock lock(&store_.mutex_);
    ++store_.in_use_[id_];
  }
  Use(const Use&) = delete;
  ~Use() {
    absl::MutexLock lock(&store_.mutex_);
    if (--store_.in_use_[id_] == 0) store_.in_use_.erase(id_);
  }

 private:
  SeedStore& store_;
  const std::string id_;
};

std::span<const state::Migration> SeedStore::Migrations() { return kMigrations; }

SeedStore::SeedStore(fs::path root, state::Database& database, const ObjectDatabase& objects,
                     const Clock& clock)
    : root_(std::move(root)), database_(database), objects_(objects), clock_(clock) {}

absl::StatusOr<std::unique_ptr<SeedStore>> SeedStore::Open(const fs::path& root,
                                                           state::Database& database,
                                                           const ObjectDatabase& objects,
                                                           const Clock& clock) {
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(root, 0700), root));
  std::unique_ptr<SeedStore> store(new SeedStore(root, database, objects, clock));
  KDBG_RETURN_IF_ERROR(store->RemoveLeftovers());
  return store;
}

absl::Status SeedStore::RemoveLeftovers() const {
  KDBG_ASSIGN_OR_RETURN(const std::vector<Seed> seeds, List());
  std::set<std::string> known;
  for (const Seed& seed : seeds) known.insert(seed.id);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root_, error)) {
    if (!known.contains(entry.path().filename())) KDBG_RETURN_IF_ERROR(RemoveTree(entry.path()));
  }
  return absl::OkStatus();
}

absl::Status SeedStore::Keep(std::string_view key, Workspaces::Lease& from, std::stop_token stop) {
  Seed seed;
  seed.id = NewId("seed");
  seed.key = key;
  KDBG_ASSIGN_OR_RETURN(seed.tree, from.tree());
  seed.create_time = clock_.Now();
  const fs::path home = root_ / seed.id;
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(home, 0700), home));
  absl::Status status = from.Harvest(home, std::move(stop));
  if (status.ok()) status = SyncAll(home);
  std::vector<std::string> replaced;
  if (status.ok()) {
    status = database_.Write([&](Transaction& transaction) -> absl::Status {
      replaced.clear();
      KDBG_RETURN_IF_ERROR(transaction.Query("SELECT id FROM seeds WHERE key = ? AND tree = ?",
                                             seed.key, seed.tree, [&](const Row& row) {
                                               replaced.push_back(row.Text(0));
                                               return absl::OkStatus();
                                             }));
      return transaction
          .Execute(
              "INSERT INTO seeds (id, key, tree, create_time, last_used_time) "
              "VALUES (?, ?, ?, ?4, ?4)",
              seed.id, seed.key, seed.tree, seed.create_time)
          .status();
    });
  }
  if (!status.ok()) {
    RemoveTree(home).IgnoreError();
    return status;
  }
  for (const std::string& id : replaced) {
    // One that is just being planted stays until it is the least recently used.
    if (absl::Status deleted = Delete(id); !deleted.ok()) {
      spdlog::warn("{} is kept for now: {}", id, deleted.ToString());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Seed> SeedStore::Nearest(std::string_view key, std::string_view tree) const {
  KDBG_ASSIGN_OR_RETURN(const std::vector<Seed> seeds, List());
  std::optional<Seed> nearest;
  std::size_t least = kMostDifferences;
  for (auto seed = seeds.rbegin(); seed != seeds.rend(); ++seed) {
    if (seed->key != key) continue;
    std::size_t differences = 0;
    if (seed->tree != tree) {
      const auto changed = objects_.ChangedPaths(seed->tree, tree);
      if (!changed.ok()) continue;
      differences = changed->size();
    }
    if (differences >= least) continue;
    least = differences;
    nearest = *seed;
  }
  if (!nearest) return absl::NotFoundError("no seed is near that tree");
  return *std::move(nearest);
}

absl::StatusOr<std::string> SeedStore::Plant(std::string_view key, std::string_view tree,
                                             Workspaces::Lease& into, std::stop_token stop) {
  KDBG_ASSIGN_OR_RETURN(const Seed seed, Nearest(key, tree));
  const Use use(*this, seed.id);
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(const std::int64_t found,
                          transaction.Execute("UPDATE seeds SET last_used_time = ? WHERE id = ?",
                                              clock_.Now(), seed.id));
    return found > 0 ? absl::OkStatus() : absl::NotFoundError("the seed has just been removed");
  }));
  KDBG_RETURN_IF_ERROR(into.Plant(root_ / seed.id, seed.tree, std::move(stop)));
  return seed.tree;
}

absl::StatusOr<std::vector<Seed>> SeedStore::List() const {
  std::vector<Seed> seeds;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT id, key, tree, create_time, last_used_time FROM seeds ORDER BY last_used_time, id",
        [&](const Row& row) {
          seeds.push_back({.id = row.Text(0),
                           .key = row.Text(1),
                           .tree = row.Text(2),
                           .create_time = row.Time(3),
                           .last_used_time = row.Time(4)});
          return absl::OkStatus();
        });
  }));
  return seeds;
}

absl::Status SeedStore::Delete(std::string_view id) {
  // The record first: whoever comes to plant it after this finds none.
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) -> absl::Status {
    absl::MutexLock lock(&mutex_);
    if (in_use_.contains(id)) {
      return MakeError(absl::StatusCode::kAborted, Reason::kHolderBusy,
                       fmt::format("{} is being planted; wait for that to end", id),
                       {{"holder", std::string(id)}});
    }
    return transaction.Execute("DELETE FROM seeds WHERE id = ?", id).status();
  }));
  return RemoveTree(root_ / id);
}

}  // namespace kdbg::source
