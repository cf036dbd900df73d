// Uploads: bytes that travel to the server, resumable over broken connections and restarts. An
// upload is its owner, digest and size; the file's length is how many bytes have arrived.
//
// Thread-safe; calls block for the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/support/sha256.h"
#include "proto/support/unique_fd.h"
#include "server/base/clock.h"
#include "server/state/database.h"

namespace kdbg::source {

struct Upload {
  std::string id;  // "u-k3v9x2qf"
  std::string owner;
  std::string sha256;
  std::int64_t size_bytes = 0;
  std::int64_t received_bytes = 0;
  bool complete = false;  // all bytes are here and the digest is right
};

struct UploadLimits {
  std::int64_t maximum_size_bytes = std::int64_t{8} << 30;
  int maximum_unfinished_per_owner = 8;
  absl::Duration expiry = absl::Hours(24);  // after the last byte
};

class UploadStore {
 public:
  // One transfer at a time into one upload: a newer Writer takes over from an older one, whose next
  // Write is ABORTED, since a client that reconnects knows of its broken stream before we do. What
  // was written stays when a Writer goes.
  class Writer {
   public:
    Writer(Writer&&) noexcept = default;
    ~Writer();
    // ABORTED (kHolderBusy) after a newer Writer took over, INVALID_ARGUMENT beyond the announced
    // size, RESOURCE_EXHAUSTED (kDiskFull).
    absl::Status Write(std::string_view bytes);
    // The upload as it is then. When the last byte is here, checks the digest: DATA_LOSS
    // (kDigestMismatch) empties the upload.
    absl::StatusOr<Upload> Finish();

   private:
    friend class UploadStore;
    struct Transfer;
    Writer(UploadStore* store, std::shared_ptr<Transfer> transfer);
    UploadStore* store_;
    std::shared_ptr<Transfer> transfer_;
  };

  static std::span<const state::Migration> Migrations();

  // Removes what expired and files without a record.
  static absl::StatusOr<std::unique_ptr<UploadStore>> Open(const std::filesystem::path& directory,
                                                           state::Database& database,
                                                           const Clock& clock,
                                                           const UploadLimits& limits);

  // Idempotent by owner, digest and size. INVALID_ARGUMENT, RESOURCE_EXHAUSTED (kQuotaExceeded).
  absl::StatusOr<Upload> Create(std::string_view owner, std::string_view sha256,
                                std::int64_t size_bytes);
  // NOT_FOUND.
  absl::StatusOr<Upload> Get(std::string_view id) const;
  // OUT_OF_RANGE (kOffsetOutOfRange) unless `offset` equals received_bytes.
  absl::StatusOr<Writer> OpenWriter(std::string_view id, std::int64_t offset);
  // For reading, from the start. FAILED_PRECONDITION (kUploadIncomplete) unless complete.
  absl::StatusOr<UniqueFd> OpenComplete(std::string_view id) const;
  // Idempotent.
  absl::Status Remove(std::string_view id);
  absl::Status Remove(state::Transaction& transaction, std::string_view id);
  // Bytes that have arrived since the start.
  std::int64_t received_bytes() const { return received_bytes_; }

  // Drops what has not grown for the limits' expiry; to be called now and then.
  absl::Status RemoveExpired();

 private:
  UploadStore(std::filesystem::path directory, state::Database& database, const Clock& clock,
              const UploadLimits& limits);
  std::filesystem::path PathOf(std::string_view id) const;
  absl::Status MarkComplete(std::string_view id);
  absl::Status Touch(std::string_view id);
  void EndTransfer(Writer::Transfer& transfer);

  const std::filesystem::path directory_;
  state::Database& database_;
  const Clock& clock_;
  const UploadLimits limits_;
  std::atomic<std::int64_t> received_bytes_ = 0;
  absl::Mutex mutex_;
  std::map<std::string, std::weak_ptr<Writer::Transfer>> transfers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::source
