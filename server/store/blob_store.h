// Immutable bytes by their SHA-256. The directory is the state: what lies under its digest is
// complete, everything else is an ingest that was not finished and vanishes at the next Open.
//
// Directories are 0711 and files 0444: whoever knows a digest can read the bytes, which is how
// QEMU, under another uid, and kdbgctl, on the same host, read them in place. Thread-safe; calls
// block for the disk. RESOURCE_EXHAUSTED (kDiskFull) leaves nothing behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/support/sha256.h"
#include "proto/support/unique_fd.h"

namespace kdbg::store {

struct Blob {
  std::string digest;  // 64 hex digits
  std::int64_t size_bytes = 0;
};

bool IsDigest(std::string_view text);

class BlobStore {
 public:
  // Bytes on their way in; vanishes unless committed.
  class Ingest {
   public:
    Ingest(Ingest&&) noexcept = default;
    Ingest& operator=(Ingest&&) noexcept;
    ~Ingest();

    absl::Status Write(std::string_view bytes);
    std::int64_t size_bytes() const { return size_; }
    // Synced and in place under its digest when this returns; the handle is then used up.
    absl::StatusOr<Blob> Commit();

   private:
    friend class BlobStore;
    Ingest(const BlobStore* store, UniqueFd fd, std::filesystem::path path);
    void Abandon();
    const BlobStore* store_;
    UniqueFd fd_;
    std::filesystem::path path_;
    Sha256 hash_;
    std::int64_t size_ = 0;
    std::int64_t flushed_ = 0;
  };

  static absl::StatusOr<std::unique_ptr<BlobStore>> Open(const std::filesystem::path& directory);

  absl::StatusOr<Ingest> NewIngest();
  // The whole of an open file, from its start: by reflink where the file system can, else by one
  // copy that hashes on its way. Never a hard link.
  absl::StatusOr<Blob> Put(const UniqueFd& source);
  absl::StatusOr<Blob> PutBytes(std::string_view bytes);

  // Where the bytes of `digest` are, whether or not they are there.
  std::filesystem::path PathOf(std::string_view digest) const;
  // NOT_FOUND; DATA_LOSS (kDataCorrupt) when the file is not what was put there, by its size.
  absl::StatusOr<UniqueFd> OpenBlob(const Blob& blob) const;
  bool Has(std::string_view digest) const;
  // Has, and young again, so that RemoveUnused leaves it to the record that is about to name it.
  bool Claim(std::string_view digest) const;
  // Reads it all. DATA_LOSS (kDataCorrupt) when the bytes are not those of the digest; they are
  // then moved to quarantine/ so that the next Put brings good ones.
  absl::Status Verify(std::string_view digest);

  // Removes blobs that `is_used` does not claim and that were put more than `minimum_age` ago
  // (between a Put and the record that names it nobody claims a blob). The number of bytes freed.
  absl::StatusOr<std::int64_t> RemoveUnused(const std::function<bool(std::string_view)>& is_used,
                                            absl::Duration minimum_age);

 private:
  explicit BlobStore(std::filesystem::path directory);
  absl::Status Place(const std::filesystem::path& ingest, std::string_view digest) const;

  const std::filesystem::path directory_;
  // Between looking at a blob's age and acting on it.
  mutable absl::Mutex age_mutex_;
};

}  // namespace kdbg::store
