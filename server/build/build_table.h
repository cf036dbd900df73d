// The tables of this module: builds, and what is remembered of each workspace between builds.
//
// Thread-safe; calls block for the disk.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/build/build_record.h"
#include "server/build/builds.h"
#include "server/state/database.h"

namespace kdbg::build {

// What the build directory of a workspace holds.
struct WorkspaceMemory {
  std::string config_key;              // empty: nothing that may be built upon
  std::string tree;                    // the one the config was made for
  std::int64_t full_steps = 0;         // of the last build from nothing
  std::int64_t incremental_steps = 0;  // of the last one that was not, after the last full one
  // Done by a build from nothing that was cut off: the next one goes on from there.
  std::optional<std::int64_t> begun_steps = std::nullopt;
};

class BuildTable {
 public:
  static std::span<const state::Migration> Migrations();
  explicit BuildTable(state::Database& database) : database_(database) {}

  // Fills in sequence.
  absl::Status Insert(BuildRecord& record);
  absl::Status Update(const BuildRecord& record);
  absl::Status Update(state::Transaction& transaction, const BuildRecord& record);
  absl::Status Delete(std::string_view id);

  // NOT_FOUND all of them.
  absl::StatusOr<BuildRecord> Get(std::string_view id) const;
  absl::StatusOr<BuildRecord> FindByName(std::string_view owner, std::string_view name) const;
  absl::StatusOr<BuildRecord> FindByRequest(std::string_view owner,
                                            std::string_view request_id) const;
  absl::StatusOr<BuildRecord> NewestSuccessful(std::string_view owner, BuildKind kind,
                                               std::optional<Architecture> architecture) const;
  absl::StatusOr<BuildRecord> FindNewest(std::string_view owner, std::string_view key) const;
  // The newest success of this key that may answer this owner: one of theirs, as private, or one
  // that the service itself made.
  absl::StatusOr<BuildRecord> FindByKey(std::string_view owner, std::string_view key,
                                        bool is_private) const;

  absl::StatusOr<std::vector<BuildRecord>> List(const Builds::ListQuery& query) const;
  absl::StatusOr<std::vector<BuildRecord>> Unfinished() const;  // oldest first

  absl::StatusOr<WorkspaceMemory> Recall(std::string_view workspace_id) const;
  // Of the last build from nothing with this config, in any workspace; 0 when there was none.
  absl::StatusOr<std::int64_t> FullStepsOf(std::string_view config_key) const;
  absl::Status Remember(std::string_view workspace_id, const WorkspaceMemory& memory);

  // Artifacts of kernels whose gdb index is still to be made.
  absl::Status SetIndexWanted(state::Transaction& transaction, std::string_view artifact_id);
  absl::Status SetIndexDone(std::string_view artifact_id);
  absl::StatusOr<std::vector<std::string>> IndexesWanted() const;

 private:
  absl::StatusOr<std::vector<BuildRecord>> Select(std::string_view condition,
                                                  std::vector<state::Value> values) const;
  absl::StatusOr<BuildRecord> SelectOne(std::string_view condition,
                                        std::vector<state::Value> values,
                                        std::string_view what) const;

  state::Database& database_;
};

}  // namespace kdbg::build
