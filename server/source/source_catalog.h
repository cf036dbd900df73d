// Sources: what builds are made of, as records over trees. Create answers at once; threads of ours
// import.
//
// Thread-safe. Imports survive a restart of the daemon: those that had not ended start again.
#pragma once

#include <sys/types.h>

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
#include "server/source/archive_reader.h"
#include "server/source/download.h"
#include "server/source/object_database.h"
#include "server/source/object_id.h"
#include "server/source/patches.h"
#include "server/source/upload_store.h"
#include "server/state/database.h"

namespace kdbg::source {

enum class OriginKind {
  kTarball = 1,
  kServerPath = 2,
  kGitPack = 3,
  kGitUrl = 4,
  kTarballUrl = 5,
  kPatched = 6,
};
enum class SourceState { kImporting = 1, kReady = 2, kFailed = 3 };
enum class SourceFault { kSubject, kCaller, kHost };

struct SourceOrigin {
  OriginKind kind = OriginKind::kTarball;
  std::string text;    // what people see: file name, path, directory, URL or names of patches
  std::string sha256;  // of the tarball; for a server path or URL known once it has been read; of
                       // patches with what they are applied to
  std::string upload;  // id; may be empty when the digest, or the tree, is known for this owner
  std::string tree;    // of a git pack: what it completes; of patches: what they are applied to; of
                       // a git URL: the commit, once it is known
  std::string ref;     // of a git pack: the commit, for people; of patches: the source below them;
                       // of a git URL: what to fetch; of a tarball's: the digest it must have
  bool dirty = false;  // of a git pack: changed since that commit
};

struct SourceFailure {
  SourceFault fault = SourceFault::kSubject;
  std::string reason;  // ReasonName of proto/contract/error.h
  std::string message;
};

struct SourceRecord {
  std::string id;  // "s-k3v9x2qf"
  std::string owner;
  SourceOrigin origin;
  SourceState state = SourceState::kImporting;
  std::optional<SourceFailure> failure;
  std::string tree;
  std::int64_t files_imported = 0;
  std::int64_t bytes_imported = 0;
  std::string project;          // "linux", "busybox" or empty
  std::string project_version;  // "6.1.170"
  absl::Time create_time;
  std::optional<absl::Time> ready_time;
  std::int64_t sequence = 0;  // grows with each source; for paging
};

struct SourceRequest {
  std::string owner;
  SourceOrigin origin;
  // Whose rights a server path or a file URL is read with; absent: our own.
  std::optional<uid_t> reader;
  std::string request_id;  // may be empty
  // Of a git pack: the pack itself instead of an upload, and what its deltas build on.
  std::string pack;
  std::vector<ObjectId> delta_bases;
  std::vector<Patch> patches;  // over the source `origin.ref`, which the owner may use
};

struct SourceSettings {
  std::vector<std::filesystem::path> allowed_paths;  // server paths must lie below one of them
  ArchiveLimits archive_limits;
  RemoteRules remotes;
  std::filesystem::path mirrors;  // where GitMirrors has its repositories; also for downloads
};

class SourceCatalog {
 public:
  static std::span<const state::Migration> Migrations();

  // Starts the imports again that the last run of the daemon left unfinished.
  static absl::StatusOr<std::unique_ptr<SourceCatalog>> Open(state::Database& database,
                                                             ObjectDatabase& objects,
                                                             UploadStore& uploads,
                                                             const Clock& clock,
                                                             const SourceSettings& settings);
  // Ends a running import; the next Open starts it again.
  ~SourceCatalog();

  // IMPORTING, or READY at once when these bytes were imported before: for this owner by their
  // digest or tree alone, for another owner when the upload is complete, which proves that they
  // have them. A server path is opened here, with the reader's rights; a pack that came along is
  // imported here, and patches are applied. Idempotent by `request_id`, when given, and by content.
  //   INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, PERMISSION_DENIED as CreateSource says
  absl::StatusOr<SourceRecord> Create(const SourceRequest& request);

  // Those of `ids` that are in trees of this owner's READY sources, in the same order.
  absl::StatusOr<std::vector<ObjectId>> KnownTo(std::string_view owner,
                                                std::span<const ObjectId> ids);

  absl::StatusOr<SourceRecord> Get(std::string_view id) const;

  struct ListQuery {
    std::optional<std::string> owner = std::nullopt;  // absent: everybody's
    std::int64_t before_sequence = 0;                 // 0: from the newest
    int limit = 50;
  };
  absl::StatusOr<std::vector<SourceRecord>> List(const ListQuery& query) const;

  // Idempotent; ends its import when one runs. Refusing while a build uses it is the caller's part.
  absl::Status Delete(std::string_view id);

  // What is kept of remote repositories that nobody has fetched from for so long.
  absl::Status RemoveUnusedMirrors(absl::Duration age);

  // Called with each new state and now and then with progress, of every source.
  [[nodiscard]] Subscription Subscribe(std::function<void(const SourceRecord&)> listener);

 private:
  class Impl;
  explicit SourceCatalog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kdbg::source
