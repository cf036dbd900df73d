#include "server/source/source_importer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"

namespace kdbg::source {
namespace {

using state::Transaction;

constexpr std::size_t kHashBytes = std::size_t{1} << 20;
constexpr std::size_t kShownBytes = 4096;
constexpr std::size_t kVersionBytes = 64;

absl::StatusOr<std::string> HashFile(int fd, const std::stop_token& stop) {
  Sha256 hash;
  std::vector<char> buffer(kHashBytes);
  off_t offset = 0;
  for (;;) {
    if (stop.stop_requested()) return absl::CancelledError("the import was stopped");
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DiskError(errno, "read", "the tarball");
    if (n == 0) return hash.FinishHex();
    hash.Update(std::string_view(buffer.data(), static_cast<std::size_t>(n)));
    offset += n;
  }
}

}  // namespace

absl::StatusOr<FileStamp> StampOf(const UniqueFd& file) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return DiskError(errno, "stat", "the tarball");
  const auto nanoseconds = [](const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  };
  return FileStamp{.device = static_cast<std::int64_t>(status.st_dev),
                   .inode = static_cast<std::int64_t>(status.st_ino),
                   .size_bytes = status.st_size,
                   .modified_ns = nanoseconds(status.st_mtim),
                   .changed_ns = nanoseconds(status.st_ctim)};
}

SourceFailure FailureOf(const absl::Status& status) {
  SourceFailure failure;
  failure.message = ShortUtf8(std::string(status.message()), kShownBytes);
  const auto detail = GetErrorDetail(status);
  failure.reason = detail ? detail->reason : std::string(ReasonName(Reason::kUnspecified));
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      failure.fault = SourceFault::kSubject;
      break;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
      failure.fault = SourceFault::kCaller;
      break;
    default:
      failure.fault = SourceFault::kHost;
  }
  return failure;
}

SourceImporter::SourceImporter(state::Database& database, ObjectDatabase& objects,
                               const ArchiveLimits& limits)
    : database_(database), objects_(objects), limits_(limits) {}

absl::Status SourceImporter::FindDigest(SourceRecord& record, const UniqueFd& bytes,
                                        const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(bytes));
  KDBG_ASSIGN_OR_RETURN(record.origin.sha256, HashFile(bytes.get(), stop));
  return database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(SourceRecords::Update(transaction, record).status());
    return SourceRecords::RememberDigest(transaction, stamp, record.origin.sha256);
  });
}

absl::StatusOr<bool> SourceImporter::Reuse(SourceRecord& record) {
  if (record.origin.sha256.empty()) return false;
  std::optional<SourceRow> ready;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(ready, SourceRecords::FindAnyReady(transaction, record.origin.sha256));
    return absl::OkStatus();
  }));
  if (!ready || !objects_.Keep(record.id, ready->record.tree).ok()) return false;
  record.tree = ready->record.tree;
  record.files_imported = ready->record.files_imported;
  record.bytes_imported = ready->record.bytes_imported;
  record.project = ready->record.project;
  record.project_version = ready->record.project_version;
  return true;
}

absl::Status SourceImporter::Import(SourceRecord& record, const UniqueFd& bytes,
                                    const std::function<void(const ImportProgress&)>& on_progress,
                                    const std::stop_token& stop) {
  if (record.origin.sha256.empty()) KDBG_RETURN_IF_ERROR(FindDigest(record, bytes, stop));
  KDBG_ASSIGN_OR_RETURN(const bool reused, Reuse(record));
  if (reused) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(const ImportedTree imported,
                        objects_.ImportArchive(bytes, record.id, limits_, on_progress, stop));
  record.tree = imported.tree;
  record.files_imported = imported.total.files;
  record.bytes_imported = imported.total.bytes;
  const Project project = ProjectOf(record.tree);
  record.project = project.name;
  record.project_version = ShortUtf8(project.version, kVersionBytes);
  return absl::OkStatus();
}

Project SourceImporter::ProjectOf(const std::string& tree) const {
  absl::StatusOr<TreeReader> reader = objects_.OpenTree(tree);
  if (!reader.ok()) return {};
  return DetectProject([&](std::string_view path) -> std::optional<std::string> {
    absl::StatusOr<std::string> content = reader->Read(path);
    if (!content.ok()) return std::nullopt;
    return *std::move(content);
  });
}

}  // namespace kdbg::source
