// Artifacts: what builds leave behind, as records over blobs. Immutable but for late files and
// pins.
//
// Records and pins are written in the caller's Transaction, so that a build and its artifact, a
// session and its pin, are there together or not at all. Thread-safe; calls block for the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
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
#include "server/state/database.h"
#include "server/store/blob_store.h"

namespace kdbg::store {

enum class ArtifactKind { kKernel = 1, kInitramfs = 2, kDump = 3, kSavedState = 4 };

struct ArtifactFile {
  std::string path;  // "vmlinux", "scripts/gdb/linux/tasks.py"
  std::string digest;
  std::int64_t size_bytes = 0;
  std::string gnu_build_id = {};  // of a program or module, hex
};

struct Artifact {
  std::string id;  // "a-k3v9x2qf"
  ArtifactKind kind = ArtifactKind::kKernel;
  std::string owner;
  bool is_private = false;
  std::string build_id;   // id of the build resource
  std::string source_id;  // id of the source resource
  std::string display_name;
  std::string architecture;         // as in proto/contract/architecture.h
  std::string gnu_build_id;         // of vmlinux, hex
  std::string version;              // "6.1.170"
  std::vector<ArtifactFile> files;  // ordered by path
  absl::Time create_time;
  absl::Time last_used_time;      // published, answered with, pinned, let go of, read
  std::vector<std::string> pins;  // holders: "user alice", "session vm-k3v9x2qf", "artifact a-..."
  std::map<std::string, std::string> attributes;
  std::int64_t sequence = 0;  // grows with each artifact; for paging

  // nullptr when there is no such file.
  const ArtifactFile* FindFile(std::string_view path) const;
};

struct Published {
  Artifact artifact;
};

class ArtifactStore {
 public:
  // To be handed to Database::Open with those of the other modules.
  static std::span<const state::Migration> Migrations();

  ArtifactStore(state::Database& database, BlobStore& blobs, const Clock& clock);

  // Fills in id, create_time (when unset) and sequence. Every file's blob must be in the store.
  // Subscribers hear of it after the commit.
  absl::StatusOr<Artifact> Publish(state::Transaction& transaction, Artifact artifact);
  // A file that came later (the gdb index). Idempotent; NOT_FOUND when the artifact is gone.
  absl::Status AddFile(std::string_view id, const ArtifactFile& file);

  absl::StatusOr<Artifact> Get(std::string_view id) const;
  absl::StatusOr<Artifact> Get(state::Transaction& transaction, std::string_view id) const;

  struct ListQuery {
    std::optional<std::string> owner = std::nullopt;  // absent: everybody's
    bool include_shared = false;  // with owner: also what others do not keep private
    // With include_shared: also these, and what these builds made.
    std::vector<std::string> granted = {};
    std::vector<std::string> granted_builds = {};
    std::optional<ArtifactKind> kind = std::nullopt;
    std::string gnu_build_id = {};     // empty: any; else those with a file of that id
    std::int64_t before_sequence = 0;  // 0: from the newest
    int limit = 50;
  };
  // Newest first.
  absl::StatusOr<std::vector<Artifact>> List(const ListQuery& query) const;

  struct Total {
    std::int64_t artifacts = 0;
    std::int64_t blobs = 0;  // equal files once
    std::int64_t bytes = 0;  // likewise
  };
  absl::StatusOr<Total> Measure() const;

  // Those that have a file with this digest.
  absl::StatusOr<std::vector<Artifact>> WithFile(std::string_view digest) const;

  // Idempotent. FAILED_PRECONDITION (kHolderBusy) naming the holders while pinned. The bytes go
  // with the next CollectGarbage.
  absl::Status Delete(std::string_view id);

  // Notes that somebody has a use for it. One that is gone is no error.
  absl::Status Touch(std::string_view id);
  // Deletes it when it is not pinned and was not used after `last_used_time`; whether it has.
  absl::StatusOr<bool> DeleteUnused(std::string_view id, absl::Time last_used_time);

  // Idempotent both. Pin: NOT_FOUND when there is no such artifact. The holder "artifact ID" goes
  // with that artifact.
  absl::Status Pin(state::Transaction& transaction, std::string_view id, std::string_view holder);
  absl::Status Unpin(state::Transaction& transaction, std::string_view id, std::string_view holder);

  [[nodiscard]] Subscription Subscribe(std::function<void(const Published&)> listener);

  // Removes bytes no artifact names, older than `minimum_age`; the number of bytes freed.
  absl::StatusOr<std::int64_t> CollectGarbage(absl::Duration minimum_age = absl::Hours(1));

 private:
  // Takes back what the artifact itself has pinned.
  absl::Status LetGo(state::Transaction& transaction, std::string_view id);

  state::Database& database_;
  BlobStore& blobs_;
  const Clock& clock_;
  // Shared with events that are delivered after this is gone.
  const std::shared_ptr<Subscribers<const Published&>> subscribers_ =
      std::make_shared<Subscribers<const Published&>>();
};

}  // namespace kdbg::store
