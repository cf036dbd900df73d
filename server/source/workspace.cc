#include "server/source/workspace.h"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "proto/support/subprocess.h"
#include "server/base/disk_error.h"
#include "server/source/git.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using state::Row;
using state::Transaction;

constexpr state::Migration kMigrations[] = {
    {"workspaces", 1, R"sql(
      CREATE TABLE workspaces (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        tree TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        create_time INTEGER NOT NULL,
        last_used_time INTEGER NOT NULL);
    )sql"},
};

constexpr std::size_t kIdDigits = 16;

enum class CopyKind {
  kBytes,  // reflinks where the file system has them
  kLink,   // one file with two names
};

// Time stamps and modes kept, links not followed. What is copied belongs to us, and so must not run
// as its owner whoever starts it.
absl::Status CopyTree(const fs::path& from, const fs::path& to, CopyKind kind,
                      const std::stop_token& stop) {
  Subprocess::Options copy;
  copy.argv = {"cp", "--archive", "--no-target-directory"};
  if (kind == CopyKind::kLink) {
    copy.argv.push_back("--link");
  } else {
    copy.argv.insert(copy.argv.end(), {"--reflink=auto", "--no-preserve=ownership"});
  }
  copy.argv.insert(copy.argv.end(), {"--", from.string(), to.string()});
  KDBG_RETURN_IF_ERROR(Git::Run(std::move(copy), stop).status());
  if (kind == CopyKind::kLink) return absl::OkStatus();
  Subprocess::Options plain;
  plain.argv = {"chmod", "--recursive", "a-s", "--", to.string()};
  return Git::Run(std::move(plain), stop).status();
}

// Of this run of the kernel; empty when it cannot be known, which no record matches for long.
std::string BootId() {
  absl::StatusOr<std::string> id = kdbg::ReadFile("/proc/sys/kernel/random/boot_id");
  return id.ok() ? *std::move(id) : std::string();
}

absl::Status Busy(std::string_view id) {
  return MakeError(absl::StatusCode::kAborted, Reason::kHolderBusy,
                   fmt::format("workspace {} is in use by another build; wait for it to end", id),
                   {{"holder", std::string(id)}});
}

// Holds a workspace while it goes.
constexpr char kDeletion[] = "";

}  // namespace

// ---- Lease

Workspaces::Lease::Lease(Workspaces* workspaces, std::string id, std::string owner)
    : workspaces_(workspaces), id_(std::move(id)), owner_(std::move(owner)) {}

Workspaces::Lease::Lease(Lease&& other) noexcept
    : workspaces_(std::exchange(other.workspaces_, nullptr)),
      id_(std::move(other.id_)),
      owner_(std::move(other.owner_)) {}

Workspaces::Lease& Workspaces::Lease::operator=(Lease&& other) noexcept {
  if (this == &other) return *this;
  if (workspaces_ != nullptr) workspaces_->Release(id_);
  workspaces_ = std::exchange(other.workspaces_, nullptr);
  id_ = std::move(other.id_);
  owner_ = std::move(other.owner_);
  return *this;
}

Workspaces::Lease::~Lease() {
  if (workspaces_ != nullptr) workspaces_->Release(id_);
}

fs::path Workspaces::Lease::source_dir() const { return workspaces_->root_ / id_ / "src"; }
fs::path Workspaces::Lease::build_dir() const { return workspaces_->root_ / id_ / "build"; }
fs::path Workspaces::Lease::ccache_dir() const { return workspaces_->CcacheDir(owner_); }

absl::StatusOr<std::string> Workspaces::Lease::tree() const {
  KDBG_ASSIGN_OR_RETURN(Content content, workspaces_->ContentOf(id_));
  return std::move(content.tree);
}

absl::Status Workspaces::Lease::Checkout(std::string_view tree, std::stop_token stop) {
  KDBG_ASSIGN_OR_RETURN(const Content current, workspaces_->ContentOf(id_));
  // Builds see the work tree read-only, so it is what was checked out, unless the machine went down
  // before all of it had reached the disk.
  const bool same_boot = current.boot_id == workspaces_->boot_id_;
  if (current.tree == tree && same_boot) return absl::OkStatus();
  KDBG_RETURN_IF_ERROR(workspaces_->SetTree(id_, ""));
  KDBG_RETURN_IF_ERROR(workspaces_->objects_.Checkout(
      tree, workspaces_->root_ / id_ / "index", source_dir(),
      same_boot ? WorkTreeTrust::kAsIndexed : WorkTreeTrust::kLookAtEveryFile, std::move(stop)));
  return workspaces_->SetTree(id_, tree);
}

absl::Status Workspaces::Lease::ClearBuild() {
  KDBG_RETURN_IF_ERROR(workspaces_->remove_tree_(build_dir()));
  return WithDiskReason(MakeDirectories(build_dir(), 0755), build_dir());
}

absl::Status Workspaces::Lease::Harvest(const fs::path& to, std::stop_token stop) {
  const fs::path home = workspaces_->root_ / id_;
  KDBG_RETURN_IF_ERROR(CopyTree(home / "src", to / "src", CopyKind::kLink, stop));
  KDBG_RETURN_IF_ERROR(CopyTree(home / "index", to / "index", CopyKind::kBytes, stop));
  std::error_code error;
  fs::rename(build_dir(), to / "build", error);
  if (error) return DiskError(error.value(), "move", build_dir());
  return WithDiskReason(MakeDirectories(build_dir(), 0755), build_dir());
}

absl::Status Workspaces::Lease::Plant(const fs::path& from, std::string_view tree,
                                      std::stop_token stop) {
  const fs::path home = workspaces_->root_ / id_;
  KDBG_RETURN_IF_ERROR(workspaces_->SetTree(id_, ""));
  KDBG_RETURN_IF_ERROR(workspaces_->remove_tree_(build_dir()));
  for (const char* name : {"src", "index", "index.unfinished", "build.unfinished"}) {
    KDBG_RETURN_IF_ERROR(kdbg::RemoveTree(home / name));
  }
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(build_dir(), 0755), build_dir()));
  absl::Status status = CopyTree(from / "src", home / "src", CopyKind::kLink, stop);
  status.Update(CopyTree(from / "index", home / "index", CopyKind::kBytes, stop));
  // Objects of a copy that was cut off would be taken for made: they come into their place whole.
  const fs::path unfinished = home / "build.unfinished";
  status.Update(CopyTree(from / "build", unfinished, CopyKind::kBytes, stop));
  std::error_code error;
  if (status.ok()) fs::rename(unfinished, build_dir(), error);
  if (error) status = DiskError(error.value(), "move", unfinished);
  if (status.ok()) return workspaces_->SetTree(id_, tree);
  // As empty as it was.
  for (const char* name : {"src", "index", "build", "build.unfinished"}) {
    kdbg::RemoveTree(home / name).IgnoreError();
  }
  for (const fs::path& folder : {source_dir(), build_dir()}) {
    KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(folder, 0755), folder));
  }
  return status;
}

// ---- Workspaces

std::span<const state::Migration> Workspaces::Migrations() { return kMigrations; }

Workspaces::Workspaces(fs::path root, state::Database& database, ObjectDatabase& objects,
                       const Clock& clock, RemoveTree remove_tree)
    : root_(std::move(root)),
      database_(database),
      objects_(objects),
      clock_(clock),
      remove_tree_(std::move(remove_tree)),
      boot_id_(BootId()) {}

absl::StatusOr<std::unique_ptr<Workspaces>> Workspaces::Open(const fs::path& root,
                                                             state::Database& database,
                                                             ObjectDatabase& objects,
                                                             const Clock& clock,
                                                             RemoveTree remove_tree) {
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(root, 0700), root));
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(root / "ccache", 0700), root));
  const fs::path trusted = root / "ccache" / "trusted";
  std::error_code error;
  if (!fs::exists(trusted, error)) {
    KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(trusted, 0755), trusted));
  }
  if (!remove_tree) remove_tree = kdbg::RemoveTree;
  return std::unique_ptr<Workspaces>(
      new Workspaces(root, database, objects, clock, std::move(remove_tree)));
}

std::string Workspaces::IdOf(std::string_view owner, std::string_view name) {
  std::string key(owner);
  key += '\0';
  key += name;
  return "w-" + Sha256Hex(key).substr(0, kIdDigits);
}

fs::path Workspaces::CcacheDir(std::string_view owner) const {
  return root_ / "ccache" / Sha256Hex(owner).substr(0, kIdDigits);
}

fs::path Workspaces::trusted_ccache_dir() const { return root_ / "ccache" / "trusted"; }

absl::Status Workspaces::ClearTrustedCcache() {
  const fs::path gone = root_ / "ccache" / "trusted.gone";
  KDBG_RETURN_IF_ERROR(kdbg::RemoveTree(gone));
  std::error_code error;
  fs::rename(trusted_ccache_dir(), gone, error);
  if (error) return DiskError(error.value(), "move", trusted_ccache_dir());
  KDBG_RETURN_IF_ERROR(
      WithDiskReason(MakeDirectories(trusted_ccache_dir(), 0755), trusted_ccache_dir()));
  return kdbg::RemoveTree(gone);
}

absl::StatusOr<Workspaces::Lease> Workspaces::Acquire(std::string_view owner,
                                                      std::string_view name) {
  const std::string id = IdOf(owner, name);
  {
    absl::MutexLock lock(&mutex_);
    const auto not_going = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const auto found = leased_.find(id);
      return found == leased_.end() || found->second != kDeletion;
    };
    mutex_.Await(absl::Condition(&not_going));
    if (!leased_.emplace(id, owner).second) return Busy(id);
  }
  Lease lease(this, id, std::string(owner));  // gives back from here on
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) {
    return transaction
        .Execute(
            "INSERT INTO workspaces (id, owner, name, tree, boot_id, create_time, last_used_time) "
            "VALUES (?1, ?2, ?3, '', '', ?4, ?4) "
            "ON CONFLICT (id) DO UPDATE SET last_used_time = ?4",
            id, owner, ValidUtf8(name), clock_.Now())
        .status();
  }));
  const fs::path home = root_ / id;
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(home, 0700), home));
  // Made once: later they belong to whoever builds, and what is recorded holds for what is there.
  std::error_code error;
  if (!fs::exists(lease.source_dir(), error)) {
    KDBG_RETURN_IF_ERROR(SetTree(id, ""));
    fs::remove(home / "index", error);
    KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(lease.source_dir(), 0755), home));
  }
  for (const fs::path& folder : {lease.build_dir(), lease.ccache_dir()}) {
    if (fs::exists(folder, error)) continue;
    KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(folder, 0755), folder));
  }
  return lease;
}

void Workspaces::Release(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  leased_.erase(id);
}

absl::StatusOr<std::vector<WorkspaceRecord>> Workspaces::List(
    std::optional<std::string> owner) const {
  std::vector<WorkspaceRecord> records;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT id, owner, name, tree, create_time, last_used_time FROM workspaces "
        "WHERE ?1 OR owner = ?2 ORDER BY last_used_time, id",
        !owner.has_value(), owner.value_or(""), [&](const Row& row) {
          records.push_back({.id = row.Text(0),
                             .owner = row.Text(1),
                             .name = row.Text(2),
                             .tree = row.Text(3),
                             .create_time = row.Time(4),
                             .last_used_time = row.Time(5)});
          return absl::OkStatus();
        });
  }));
  return records;
}

absl::Status Workspaces::Delete(std::string_view id) {
  {
    absl::MutexLock lock(&mutex_);
    if (!leased_.emplace(id, kDeletion).second) return Busy(id);
  }
  const Lease lease(this, std::string(id), "");  // nobody else gets it while it goes
  std::string known;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query("SELECT id FROM workspaces WHERE id = ?", id, [&](const Row& row) {
      known = row.Text(0);
      return absl::OkStatus();
    });
  }));
  if (known.empty()) return absl::OkStatus();
  // The record goes last: what could not be removed is found again.
  KDBG_RETURN_IF_ERROR(remove_tree_(root_ / known / "build"));
  KDBG_RETURN_IF_ERROR(kdbg::RemoveTree(root_ / known));
  return database_.Write([&](Transaction& transaction) {
    return transaction.Execute("DELETE FROM workspaces WHERE id = ?", known).status();
  });
}

absl::Status Workspaces::DeleteCcache(std::string_view owner) {
  const fs::path cache = CcacheDir(owner);
  const fs::path gone = cache.native() + ".gone";
  KDBG_RETURN_IF_ERROR(remove_tree_(gone));
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, holder] : leased_) {
      if (holder == owner) return Busy(id);
    }
    // A lease after this makes an empty one.
    std::error_code error;
    fs::rename(cache, gone, error);
    if (error == std::errc::no_such_file_or_directory) return absl::OkStatus();
    if (error) return DiskError(error.value(), "move", cache);
  }
  return remove_tree_(gone);
}

absl::StatusOr<Workspaces::Content> Workspaces::ContentOf(std::string_view id) const {
  Content content;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query("SELECT tree, boot_id FROM workspaces WHERE id = ?", id,
                             [&](const Row& row) {
                               content = {.tree = row.Text(0), .boot_id = row.Text(1)};
                               return absl::OkStatus();
                             });
  }));
  return content;
}

absl::Status Workspaces::SetTree(std::string_view id, std::string_view tree) {
  return database_.Write([&](Transaction& transaction) {
    return transaction
        .Execute("UPDATE workspaces SET tree = ?, boot_id = ? WHERE id = ?", tree, boot_id_, id)
        .status();
  });
}

}  // namespace kdbg::source
