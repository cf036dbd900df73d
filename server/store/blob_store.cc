#include "server/store/blob_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/observe/log.h"

namespace kdbg::store {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kCopyBytes = std::size_t{1} << 20;
// Written back behind the writer, so that the sync at the end finds little left to do.
constexpr std::int64_t kWritebackBytes = std::int64_t{8} << 20;

absl::Status SyncDirectory(const fs::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return DiskError(errno, "open", path);
  if (::fsync(fd.get()) != 0) return DiskError(errno, "sync", path);
  return absl::OkStatus();
}

// From the file's start, without moving its offset.
absl::Status ReadAll(int fd, const fs::path& path,
                     absl::FunctionRef<absl::Status(std::string_view)> sink) {
  std::vector<char> buffer(kCopyBytes);
  off_t offset = 0;
  for (;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError(errno, "read", path);
    if (n == 0) return absl::OkStatus();
    KDBG_RETURN_IF_ERROR(sink(std::string_view(buffer.data(), static_cast<std::size_t>(n))));
    offset += n;
  }
}

absl::Status Damaged(std::string_view digest, std::string_view how) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                   fmt::format("stored bytes {} are damaged ({}); build again", digest, how),
                   {{"digest", std::string(digest)}});
}

absl::Status NoSuchBlob(std::string_view digest) {
  return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                   fmt::format("no stored bytes {}", digest), {{"resource", std::string(digest)}});
}

}  // namespace

bool IsDigest(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// ---- Ingest

BlobStore::Ingest::Ingest(const BlobStore* store, UniqueFd fd, fs::path path)
    : store_(store), fd_(std::move(fd)), path_(std::move(path)) {}

BlobStore::Ingest& BlobStore::Ingest::operator=(Ingest&& other) noexcept {
  if (this == &other) return *this;
  Abandon();
  store_ = other.store_;
  fd_ = std::move(other.fd_);
  path_ = std::exchange(other.path_, {});
  hash_ = std::move(other.hash_);
  size_ = other.size_;
  flushed_ = other.flushed_;
  return *this;
}

BlobStore::Ingest::~Ingest() { Abandon(); }

void BlobStore::Ingest::Abandon() {
  if (fd_) ::unlink(path_.c_str());
  fd_.Reset();
}

absl::Status BlobStore::Ingest::Write(std::string_view bytes) {
  KDBG_RETURN_IF_ERROR(WithDiskReason(WriteAll(fd_.get(), bytes), path_));
  hash_.Update(bytes);
  size_ += static_cast<std::int64_t>(bytes.size());
  if (size_ - flushed_ >= kWritebackBytes) {
    ::sync_file_range(fd_.get(), flushed_, size_ - flushed_, SYNC_FILE_RANGE_WRITE);
    flushed_ = size_;
  }
  return absl::OkStatus();
}

absl::StatusOr<Blob> BlobStore::Ingest::Commit() {
  Blob blob{.digest = hash_.FinishHex(), .size_bytes = size_};
  if (::fchmod(fd_.get(), 0444) != 0) return DiskError(errno, "chmod", path_);
  if (!store_->Has(blob.digest) && ::fsync(fd_.get()) != 0) {
    return DiskError(errno, "sync", path_);
  }
  KDBG_RETURN_IF_ERROR(store_->Place(path_, blob.digest));
  fd_.Reset();
  return blob;
}

// ---- BlobStore

BlobStore::BlobStore(fs::path directory) : directory_(std::move(directory)) {}

absl::StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(const fs::path& directory) {
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory, 0711));
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory / "sha256", 0711));
  std::error_code error;
  // Whatever an earlier run had not committed.
  fs::remove_all(directory / "ingest", error);
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory / "ingest", 0700));
  return std::unique_ptr<BlobStore>(new BlobStore(directory));
}

absl::StatusOr<BlobStore::Ingest> BlobStore::NewIngest() {
  std::string path = directory_ / "ingest" / "XXXXXX";
  UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
  if (!fd) return DiskError(errno, "create", path);
  return Ingest(this, std::move(fd), path);
}

absl::StatusOr<Blob> BlobStore::Put(const UniqueFd& source) {
  KDBG_ASSIGN_OR_RETURN(Ingest ingest, NewIngest());
  if (::ioctl(ingest.fd_.get(), FICLONE, source.get()) == 0) {
    // The clone is a snapshot: it is hashed, not the source, which may still change.
    KDBG_RETURN_IF_ERROR(ReadAll(ingest.fd_.get(), ingest.path_, [&](std::string_view bytes) {
      ingest.hash_.Update(bytes);
      ingest.size_ += static_cast<std::int64_t>(bytes.size());
      return absl::OkStatus();
    }));
  } else {
    KDBG_RETURN_IF_ERROR(ReadAll(source.get(), "the file to store",
                                 [&](std::string_view bytes) { return ingest.Write(bytes); }));
  }
  return ingest.Commit();
}

absl::StatusOr<Blob> BlobStore::PutBytes(std::string_view bytes) {
  KDBG_ASSIGN_OR_RETURN(Ingest ingest, NewIngest());
  KDBG_RETURN_IF_ERROR(ingest.Write(bytes));
  return ingest.Commit();
}

absl::Status BlobStore::Place(const fs::path& ingest, std::string_view digest) const {
  const fs::path target = PathOf(digest);
  if (Claim(digest)) {
    ::unlink(ingest.c_str());
    return absl::OkStatus();
  }
  const fs::path folder = target.parent_path();
  if (::mkdir(folder.c_str(), 0711) == 0) {
    // Exact whatever the umask.
    if (::chmod(folder.c_str(), 0711) != 0) return DiskError(errno, "chmod", folder);
    KDBG_RETURN_IF_ERROR(SyncDirectory(folder.parent_path()));
  } else if (errno != EEXIST) {
    return DiskError(errno, "create", folder);
  }
  if (::rename(ingest.c_str(), target.c_str()) != 0) return DiskError(errno, "rename to", target);
  return SyncDirectory(folder);
}

fs::path BlobStore::PathOf(std::string_view digest) const {
  return directory_ / "sha256" / digest.substr(0, 2) / digest;
}

bool BlobStore::Has(std::string_view digest) const {
  struct stat status {};
  return IsDigest(digest) && ::stat(PathOf(digest).c_str(), &status) == 0 &&
         S_ISREG(status.st_mode);
}

bool BlobStore::Claim(std::string_view digest) const {
  absl::MutexLock lock(&age_mutex_);
  return Has(digest) && ::utimensat(AT_FDCWD, PathOf(digest).c_str(), nullptr, 0) == 0;
}

absl::StatusOr<UniqueFd> BlobStore::OpenBlob(const Blob& blob) const {
  if (!IsDigest(blob.digest)) return NoSuchBlob(blob.digest);
  const fs::path path = PathOf(blob.digest);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd && errno == ENOENT) return NoSuchBlob(blob.digest);
  if (!fd) return DiskError(errno, "open", path);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return DiskError(errno, "stat", path);
  if (status.st_size != blob.size_bytes) {
    return Damaged(blob.digest,
                   fmt::format("{} bytes instead of {}", status.st_size, blob.size_bytes));
  }
  return fd;
}

absl::Status BlobStore::Verify(std::string_view digest) {
  if (!Has(digest)) return NoSuchBlob(digest);
  const fs::path path = PathOf(digest);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return DiskError(errno, "open", path);
  Sha256 hash;
  KDBG_RETURN_IF_ERROR(ReadAll(fd.get(), path, [&](std::string_view bytes) {
    hash.Update(bytes);
    return absl::OkStatus();
  }));
  const std::string actual = hash.FinishHex();
  if (actual == digest) return absl::OkStatus();
  const fs::path quarantine = directory_ / "quarantine";
  KDBG_RETURN_IF_ERROR(MakeDirectories(quarantine, 0700));
  if (::rename(path.c_str(), (quarantine / digest).c_str()) != 0) {
    return DiskError(errno, "quarantine", path);
  }
  return Damaged(digest, "they hash to " + actual);
}

absl::StatusOr<std::int64_t> BlobStore::RemoveUnused(
    const std::function<bool(std::string_view)>& is_used, absl::Duration minimum_age) {
  const absl::Time newest = absl::Now() - minimum_age;
  std::int64_t freed = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory_ / "sha256", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    struct stat status {};
    if (::lstat(it->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (!IsDigest(name)) {
      spdlog::warn("blob store: {} is not one of ours, left alone", it->path().string());
      continue;
    }
    if (is_used(name)) continue;
    absl::MutexLock lock(&age_mutex_);
    if (::lstat(it->path().c_str(), &status) != 0) continue;
    if (absl::TimeFromTimespec(status.st_mtim) > newest) continue;
    if (::unlink(it->path().c_str()) == 0) freed += status.st_size;
  }
  if (error) return DiskError(error.value(), "list", directory_);
  return freed;
}

}  // namespace kdbg::store
