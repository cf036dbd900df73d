#include "server/source/workspace_budget.h"

#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <system_error>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

// As the disk counts it; what cannot be looked at counts nothing.
absl::StatusOr<std::int64_t> DiskUse(const fs::path& folder, const std::stop_token& stop) {
  std::int64_t bytes = 0;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied,
                                         error);
  for (; !error && entry != fs::end(entry); entry.increment(error)) {
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    struct stat status {};
    if (::lstat(entry->path().c_str(), &status) == 0) bytes += std::int64_t{status.st_blocks} * 512;
  }
  return bytes;
}

}  // namespace

absl::Status WorkspaceBudget::Keep(const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const std::vector<WorkspaceRecord> oldest_first,
                        workspaces_.List(std::nullopt));
  std::int64_t total = 0;
  std::map<std::string, Size> sizes;
  for (const WorkspaceRecord& workspace : oldest_first) {
    if (policy_.limit_bytes == 0) break;
    KDBG_ASSIGN_OR_RETURN(const Size size, SizeOf(workspace, stop));
    sizes[workspace.id] = size;
    total += size.bytes;
  }
  sizes_ = std::move(sizes);
  absl::Status all;
  std::set<std::string> owners;       // of what went
  std::set<std::string> owners_left;  // of what stays
  for (const WorkspaceRecord& workspace : oldest_first) {
    if (stop.stop_requested()) return absl::CancelledError("stopped");
    const bool unused = workspace.last_used_time <= clock_.Now() - policy_.age;
    const bool too_much = policy_.limit_bytes > 0 && total > policy_.limit_bytes;
    absl::Status deleted = absl::AbortedError("stays");
    if (unused || too_much) deleted = workspaces_.Delete(workspace.id);
    if (deleted.ok()) {
      const auto size = sizes_.extract(workspace.id);
      if (!size.empty()) total -= size.mapped().bytes;
      owners.insert(workspace.owner);
      spdlog::info("workspace {} of {} is removed: {}", workspace.name, workspace.owner,
                   unused ? "unused" : "for room");
      continue;
    }
    owners_left.insert(workspace.owner);
    if (!absl::IsAborted(deleted)) all.Update(deleted);
  }
  for (const std::string& owner : owners) {
    if (owners_left.contains(owner)) continue;
    const absl::Status deleted = workspaces_.DeleteCcache(owner);
    if (!absl::IsAborted(deleted)) all.Update(deleted);
  }
  return all;
}

absl::StatusOr<WorkspaceBudget::Size> WorkspaceBudget::SizeOf(const WorkspaceRecord& workspace,
                                                              const std::stop_token& stop) const {
  const auto known = sizes_.find(workspace.id);
  if (known != sizes_.end() && known->second.measured > workspace.last_used_time + policy_.grace) {
    return known->second;
  }
  const absl::Time now = clock_.Now();
  KDBG_ASSIGN_OR_RETURN(const std::int64_t bytes,
                        DiskUse(workspaces_.DirectoryOf(workspace.id), stop));
  return Size{.measured = now, .bytes = bytes};
}

absl::Status MakeRoom(Workspaces& workspaces, const std::function<absl::StatusOr<bool>()>& enough) {
  KDBG_ASSIGN_OR_RETURN(const std::vector<WorkspaceRecord> oldest_first,
                        workspaces.List(std::nullopt));
  for (const WorkspaceRecord& workspace : oldest_first) {
    KDBG_ASSIGN_OR_RETURN(const bool is_enough, enough());
    if (is_enough) break;
    const absl::Status deleted = workspaces.Delete(workspace.id);
    if (absl::IsAborted(deleted)) continue;  // in use
    KDBG_RETURN_IF_ERROR(deleted);
    spdlog::warn("workspace {} of {} is removed: the disk is nearly full", workspace.name,
                 workspace.owner);
    KDBG_ASSIGN_OR_RETURN(const auto left, workspaces.List(workspace.owner));
    if (!left.empty()) continue;
    const absl::Status cache = workspaces.DeleteCcache(workspace.owner);
    if (!absl::IsAborted(cache)) KDBG_RETURN_IF_ERROR(cache);
  }
  return absl::OkStatus();
}

}  // namespace kdbg::source
