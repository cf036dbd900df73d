// The builds of all owners: a queue, the threads that work it off, and the records. A build moves
// by itself, whoever watches; after a restart of the daemon those that had not ended are queued
// again.
//
// Thread-safe. Calls block for the disk at most, Cancel until every process of the build is gone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/subscribers.h"
#include "server/build/build_log.h"
#include "server/build/build_record.h"
#include "server/host/identity.h"
#include "server/state/database.h"

namespace kdbg::host {
class SandboxRunner;
}
namespace kdbg::source {
class ObjectDatabase;
class SeedStore;
class SourceCatalog;
class UploadStore;
class Workspaces;
}  // namespace kdbg::source
namespace kdbg::store {
class ArtifactStore;
class BlobStore;
}  // namespace kdbg::store

namespace kdbg::build {

struct BuildSettings {
  std::filesystem::path logs_directory;  // one <id>.log per build
  // Work space of the gdb indexer; the runner must be allowed to show it.
  std::filesystem::path index_directory;
  int parallel = 1;                     // builds at once
  int jobs = 0;                         // make -j; 0: all processors
  int queue_limit = 64;                 // builds waiting, of all owners
  std::int64_t memory_limit_bytes = 0;  // of one build; 0: three quarters of the host's
  int process_limit = 4096;
  absl::Duration time_limit = absl::Hours(2);
  std::int64_t ccache_limit_mib = 5120;     // per owner
  std::int64_t free_space_floor_bytes = 0;  // with less on the disk nothing new is begun
  std::int64_t log_limit_bytes = std::int64_t{256} << 20;
};

// What Builds borrows; all of it outlives the Builds.
struct BuildParts {
  state::Database& database;
  store::ArtifactStore& artifacts;
  store::BlobStore& blobs;
  source::SourceCatalog& sources;
  source::ObjectDatabase& objects;
  source::Workspaces& workspaces;
  source::UploadStore& uploads;
  source::SeedStore& seeds;
  host::SandboxRunner& runner;
  const Clock& clock;
  // The uid an owner's builds run under; nullopt when the daemon is not root.
  std::function<absl::StatusOr<std::optional<host::Identity>>(std::string_view owner)>
      build_identity;
};

class Builds {
 public:
  static std::span<const state::Migration> Migrations();

  // Queues again what the last run of the daemon left unfinished, and starts working.
  static absl::StatusOr<std::unique_ptr<Builds>> Open(const BuildParts& parts,
                                                      const BuildSettings& settings);
  // Ends what runs; the next Open queues it again.
  ~Builds();

  // QUEUED, or SUCCEEDED at once when the store has the answer. Codes as CreateBuild says.
  // Idempotent by request_id of the same owner.
  absl::StatusOr<BuildRecord> Create(std::string_view owner, BuildRequest request);

  // The newest build of this owner that Create would make again: it has not ended, has its artifact
  // still, which counts as a use of it, or failed by its own fault. nullopt when there is none.
  absl::StatusOr<std::optional<BuildRecord>> FindSame(std::string_view owner,
                                                      const BuildRequest& request) const;

  // NOT_FOUND all three.
  absl::StatusOr<BuildRecord> Get(std::string_view id) const;
  absl::StatusOr<BuildRecord> FindByName(std::string_view owner,
                                         std::string_view display_name) const;  // the newest
  absl::StatusOr<BuildRecord> NewestSuccessful(
      std::string_view owner, BuildKind kind,
      std::optional<Architecture> architecture = std::nullopt) const;

  struct ListQuery {
    std::optional<std::string> owner;  // absent: everybody's
    bool include_shared = false;       // with owner: also what others do not keep private
    std::vector<std::string> granted =
        {};                            // with include_shared: these of the others' private ones
    bool unfinished = false;           // only those that have not ended
    std::int64_t before_sequence = 0;  // 0: from the newest
    int limit = 50;
  };
  // Newest first.
  absl::StatusOr<std::vector<BuildRecord>> List(const ListQuery& query) const;

  // From memory.
  BuildNumbers Count() const;

  // Returns when every process of it is gone (at most 2 seconds). A build that has ended is
  // answered as it is.
  absl::StatusOr<BuildRecord> Cancel(std::string_view id);

  // While held nothing is started, and what runs is stopped, to go on from its objects later.
  void SetHeld(bool held);

  // Record and log; the artifact stays. Idempotent. FAILED_PRECONDITION (kWrongState) while it is
  // queued or running.
  absl::Status Delete(std::string_view id);

  // Called on each change of this build, a few times a second at most while it compiles, and with
  // its final state. Not called with the present state.
  [[nodiscard]] Subscription Subscribe(std::string_view id,
                                       std::function<void(const BuildRecord&)> listener);
  // Likewise of each build; also of one that was answered at once, with its final state.
  [[nodiscard]] Subscription SubscribeAll(std::function<void(const BuildRecord&)> listener);

  // At most `max_bytes` from `offset_bytes` on; negative counts from the end. Empty data at the
  // present end; `ended` says that nothing will follow. OUT_OF_RANGE (kOffsetOutOfRange) beyond it.
  absl::StatusOr<LogSlice> ReadLog(std::string_view id, std::int64_t offset_bytes,
                                   std::size_t max_bytes) const;
  // Called when there is more to read, or nothing will follow.
  [[nodiscard]] Subscription SubscribeLog(std::string_view id, std::function<void()> listener);

 private:
  class Impl;
  explicit Builds(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kdbg::build
