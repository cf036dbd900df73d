#include "server/source/upload_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/base/ids.h"
#include "server/store/blob_store.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using state::Row;
using state::Transaction;

constexpr state::Migration kMigrations[] = {
    {"uploads", 1, R"sql(
      CREATE TABLE uploads (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        complete INTEGER NOT NULL,
        touch_time INTEGER NOT NULL,
        UNIQUE (owner, sha256, size_bytes));
    )sql"},
};

constexpr std::size_t kHashBytes = std::size_t{1} << 20;

std::int64_t FileSize(const fs::path& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_size : 0;
}

absl::Status HashPrefix(int fd, const fs::path& path, std::int64_t size, Sha256& hash) {
  std::vector<char> buffer(kHashBytes);
  std::int64_t offset = 0;
  while (offset < size) {
    const auto wanted = std::min<std::int64_t>(size - offset, kHashBytes);
    const ssize_t n = ::pread(fd, buffer.data(), static_cast<std::size_t>(wanted), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError(errno, "read", path);
    if (n == 0) return absl::InternalError("the upload shrank: " + path.string());
    hash.Update(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    offset += n;
  }
  return absl::OkStatus();
}

}  // namespace

// One stream of bytes into one upload. Whoever appends holds `mutex`; a newer transfer marks this
// one as taken over under the same mutex, so that the two never interleave.
struct UploadStore::Writer::Transfer {
  absl::Mutex mutex;
  bool taken_over ABSL_GUARDED_BY(mutex) = false;
  UniqueFd fd ABSL_GUARDED_BY(mutex);
  Sha256 hash ABSL_GUARDED_BY(mutex);
  Upload upload ABSL_GUARDED_BY(mutex);
};

// ---- Writer

UploadStore::Writer::Writer(UploadStore* store, std::shared_ptr<Transfer> transfer)
    : store_(store), transfer_(std::move(transfer)) {}

UploadStore::Writer::~Writer() {
  if (transfer_) store_->EndTransfer(*transfer_);
}

absl::Status UploadStore::Writer::Write(std::string_view bytes) {
  Transfer& transfer = *transfer_;
  absl::MutexLock lock(&transfer.mutex);
  if (transfer.taken_over) {
    return MakeError(absl::StatusCode::kAborted, Reason::kHolderBusy,
                     "another stream sends this upload by now");
  }
  Upload& upload = transfer.upload;
  const auto size = static_cast<std::int64_t>(bytes.size());
  if (size > upload.size_bytes - upload.received_bytes) {
    return InvalidField(
        "data", std::to_string(upload.received_bytes + size),
        fmt::format("more bytes than the {} that were announced", upload.size_bytes));
  }
  const fs::path path = store_->PathOf(upload.id);
  const absl::Status written = WithDiskReason(WriteAll(transfer.fd.get(), bytes), path);
  if (!written.ok()) {
    // A part may have been written: what counts is what was hashed.
    if (::ftruncate(transfer.fd.get(), upload.received_bytes) != 0) transfer.taken_over = true;
    return written;
  }
  transfer.hash.Update(bytes);
  upload.received_bytes += size;
  store_->received_bytes_ += size;
  return absl::OkStatus();
}

absl::StatusOr<Upload> UploadStore::Writer::Finish() {
  Transfer& transfer = *transfer_;
  absl::MutexLock lock(&transfer.mutex);
  Upload& upload = transfer.upload;
  if (transfer.taken_over || upload.complete || upload.received_bytes < upload.size_bytes) {
    return store_->Get(upload.id);
  }
  transfer.taken_over = true;  // whatever comes next begins with a new Writer
  const std::string actual = transfer.hash.FinishHex();
  if (actual != upload.sha256) {
    const fs::path path = store_->PathOf(upload.id);
    if (::ftruncate(transfer.fd.get(), 0) != 0) return DiskError(errno, "truncate", path);
    return MakeError(absl::StatusCode::kDataLoss, Reason::kDigestMismatch,
                     fmt::format("all bytes arrived but hash to {} instead of {}; send them again",
                                 actual, upload.sha256),
                     {{"expected", upload.sha256}, {"actual", actual}});
  }
  KDBG_RETURN_IF_ERROR(store_->MarkComplete(upload.id));
  return store_->Get(upload.id);
}

// ---- UploadStore

std::span<const state::Migration> UploadStore::Migrations() { return kMigrations; }

UploadStore::UploadStore(fs::path directory, state::Database& database, const Clock& clock,
                         const UploadLimits& limits)
    : directory_(std::move(directory)), database_(database), clock_(clock), limits_(limits) {}

absl::StatusOr<std::unique_ptr<UploadStore>> UploadStore::Open(const fs::path& directory,
                                                               state::Database& database,
                                                               const Clock& clock,
                                                               const UploadLimits& limits) {
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  std::unique_ptr<UploadStore> store(new UploadStore(directory, database, clock, limits));
  KDBG_RETURN_IF_ERROR(store->RemoveExpired());
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const absl::Status known = store->Get(entry.path().filename().string()).status();
    std::error_code ignored;
    if (absl::IsNotFound(known)) fs::remove(entry.path(), ignored);
  }
  return store;
}

fs::path UploadStore::PathOf(std::string_view id) const { return directory_ / id; }

absl::StatusOr<Upload> UploadStore::Create(std::string_view owner, std::string_view sha256,
                                           std::int64_t size_bytes) {
  if (!store::IsDigest(sha256)) {
    return InvalidField("sha256", sha256, "sha256 must be 64 lower-case hex digits");
  }
  if (size_bytes < 1) {
    return InvalidField("size_bytes", std::to_string(size_bytes), "size_bytes must be at least 1");
  }
  if (size_bytes > limits_.maximum_size_bytes) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kArchiveTooLarge,
                     fmt::format("{} bytes are more than the {} this server takes in one upload",
                                 size_bytes, limits_.maximum_size_bytes));
  }
  std::string id;
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) -> absl::Status {
    int unfinished = 0;
    KDBG_RETURN_IF_ERROR(transaction.Query(
        "SELECT id, sha256 = ?2 AND size_bytes = ?3, complete FROM uploads WHERE owner = ?1", owner,
        sha256, size_bytes, [&](const Row& row) {
          if (row.Integer(1) != 0) id = row.Text(0);
          if (row.Integer(2) == 0) ++unfinished;
          return absl::OkStatus();
        }));
    if (!id.empty()) return absl::OkStatus();
    if (unfinished >= limits_.maximum_unfinished_per_owner) {
      return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                       fmt::format("{} uploads of yours are unfinished; finish some, or wait {} "
                                   "until they are dropped",
                                   unfinished, absl::FormatDuration(limits_.expiry)));
    }
    id = NewId("u");
    return transaction
        .Execute(
            "INSERT INTO uploads (id, owner, sha256, size_bytes, complete, touch_time) "
            "VALUES (?, ?, ?, ?, 0, ?)",
            id, owner, sha256, size_bytes, clock_.Now())
        .status();
  }));
  return Get(id);
}

absl::StatusOr<Upload> UploadStore::Get(std::string_view id) const {
  std::optional<Upload> upload;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT id, owner, sha256, size_bytes, complete FROM uploads WHERE id = ?", id,
        [&](const Row& row) {
          upload = Upload{.id = row.Text(0),
                          .owner = row.Text(1),
                          .sha256 = row.Text(2),
                          .size_bytes = row.Integer(3),
                          .complete = row.Integer(4) != 0};
          return absl::OkStatus();
        });
  }));
  if (!upload) return ResourceNotFound(ResourceName(kUploads, std::string(id)));
  upload->received_bytes = FileSize(PathOf(id));
  // Should the file have gone, the upload starts over.
  if (upload->received_bytes != upload->size_bytes) upload->complete = false;
  return *std::move(upload);
}

absl::StatusOr<UploadStore::Writer> UploadStore::OpenWriter(std::string_view id,
                                                            std::int64_t offset) {
  auto transfer = std::make_shared<Writer::Transfer>();
  {
    absl::MutexLock lock(&mutex_);
    std::weak_ptr<Writer::Transfer>& slot = transfers_[std::string(id)];
    if (const auto older = slot.lock()) {
      absl::MutexLock older_lock(&older->mutex);
      older->taken_over = true;
    }
    slot = transfer;
  }
  absl::MutexLock lock(&transfer->mutex);
  KDBG_ASSIGN_OR_RETURN(transfer->upload, Get(id));
  if (offset != transfer->upload.received_bytes) {
    return MakeError(absl::StatusCode::kOutOfRange, Reason::kOffsetOutOfRange,
                     fmt::format("the upload stands at {} bytes; send from there",
                                 transfer->upload.received_bytes),
                     {{"offset", std::to_string(offset)},
                      {"size", std::to_string(transfer->upload.received_bytes)}});
  }
  const fs::path path = PathOf(id);
  transfer->fd.Reset(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!transfer->fd) return DiskError(errno, "open", path);
  KDBG_RETURN_IF_ERROR(HashPrefix(transfer->fd.get(), path, offset, transfer->hash));
  return Writer(this, transfer);
}

void UploadStore::EndTransfer(Writer::Transfer& transfer) {
  std::string id;
  {
    absl::MutexLock lock(&transfer.mutex);
    id = transfer.upload.id;
    transfer.fd.Reset();
  }
  // Only the time of the last byte is lost when this fails.
  Touch(id).IgnoreError();
  absl::MutexLock lock(&mutex_);
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  const auto current = found->second.lock();
  if (!current || current.get() == &transfer) transfers_.erase(found);
}

absl::StatusOr<UniqueFd> UploadStore::OpenComplete(std::string_view id) const {
  KDBG_ASSIGN_OR_RETURN(const Upload upload, Get(id));
  if (!upload.complete) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kUploadIncomplete,
                     fmt::format("{} of {} bytes have arrived; send the rest first",
                                 upload.received_bytes, upload.size_bytes),
                     {{"upload", ResourceName(kUploads, upload.id)},
                      {"received_bytes", std::to_string(upload.received_bytes)},
                      {"size_bytes", std::to_string(upload.size_bytes)}});
  }
  const fs::path path = PathOf(id);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return DiskError(errno, "open", path);
  return fd;
}

absl::Status UploadStore::Remove(std::string_view id) {
  return database_.Write([&](Transaction& transaction) { return Remove(transaction, id); });
}

absl::Status UploadStore::Remove(Transaction& transaction, std::string_view id) {
  KDBG_ASSIGN_OR_RETURN(const std::int64_t removed,
                        transaction.Execute("DELETE FROM uploads WHERE id = ?", id));
  if (removed == 0) return absl::OkStatus();
  // A file without a record is removed by the next Open, the other way round bytes would be missed.
  transaction.AfterCommit([path = PathOf(id)] { ::unlink(path.c_str()); });
  return absl::OkStatus();
}

absl::Status UploadStore::RemoveExpired() {
  std::vector<std::string> expired;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query("SELECT id FROM uploads WHERE touch_time < ?",
                             clock_.Now() - limits_.expiry, [&](const Row& row) {
                               expired.push_back(row.Text(0));
                               return absl::OkStatus();
                             });
  }));
  for (const std::string& id : expired) {
    {
      absl::MutexLock lock(&mutex_);
      const auto found = transfers_.find(id);
      if (found != transfers_.end() && !found->second.expired()) continue;
    }
    KDBG_RETURN_IF_ERROR(Remove(id));
  }
  return absl::OkStatus();
}

absl::Status UploadStore::MarkComplete(std::string_view id) {
  return database_.Write([&](Transaction& transaction) {
    return transaction
        .Execute("UPDATE uploads SET complete = 1, touch_time = ? WHERE id = ?", clock_.Now(), id)
        .status();
  });
}

absl::Status UploadStore::Touch(std::string_view id) {
  return database_.Write([&](Transaction& transaction) {
    return transaction.Execute("UPDATE uploads SET touch_time = ? WHERE id = ?", clock_.Now(), id)
        .status();
  });
}

}  // namespace kdbg::source
