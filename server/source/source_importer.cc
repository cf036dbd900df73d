#include "server/source/source_importer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/source/project.h"
#include "server/source/tree_walk.h"

namespace kdbg::source {
namespace {

using state::Transaction;

constexpr std::size_t kHashBytes = std::size_t{1} << 20;
constexpr std::size_t kShownBytes = 4096;
constexpr std::size_t kVersionBytes = 64;
constexpr std::size_t kAllObjects = std::numeric_limits<std::size_t>::max();

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
    : database_(database),
      objects_(objects),
      limits_(limits),
      known_(database, objects, limits, KnownObjects::Limits{}) {}

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

absl::Status SourceImporter::ImportTarball(
    SourceRecord& record, const UniqueFd& bytes,
    const std::function<void(const ImportProgress&)>& on_progress, const std::stop_token& stop) {
  if (record.origin.sha256.empty()) KDBG_RETURN_IF_ERROR(FindDigest(record, bytes, stop));
  const bool has_expectation =
      record.origin.kind == OriginKind::kTarballUrl && !record.origin.ref.empty();
  if (has_expectation && record.origin.ref != record.origin.sha256) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kDigestMismatch,
                     "what came from there is not what was asked for: see that the digest and the "
                     "address belong together",
                     {{"expected", record.origin.ref}, {"actual", record.origin.sha256}});
  }
  KDBG_ASSIGN_OR_RETURN(const bool reused, Reuse(record));
  if (reused) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(const ImportedTree imported,
                        objects_.ImportArchive(bytes, record.id, limits_, on_progress, stop));
  record.tree = imported.tree;
  record.files_imported = imported.total.files;
  record.bytes_imported = imported.total.bytes;
  SetProject(record);
  return absl::OkStatus();
}

absl::Status SourceImporter::ImportPack(SourceRecord& record, const UniqueFd& pack,
                                        std::span<const ObjectId> delta_bases,
                                        const std::stop_token& stop) {
  const std::optional<ObjectId> tree = ObjectId::FromHex(record.origin.tree);
  if (!tree) return InvalidField("git_pack.tree", record.origin.tree, "not an id of 40 hex digits");
  // From here on nothing that is known goes away.
  const ObjectDatabase::Addition addition(objects_);
  KDBG_ASSIGN_OR_RETURN(const std::vector<ObjectId> bases,
                        known_.Filter(record.owner, delta_bases));
  KDBG_ASSIGN_OR_RETURN(Quarantine quarantine, Quarantine::Make(objects_.git().repository()));
  KDBG_RETURN_IF_ERROR(quarantine.Copy(bases, stop));
  KDBG_RETURN_IF_ERROR(quarantine.ReceivePack(pack, limits_, stop));
  return known_.With(record.owner, [&](const Extents& known) -> absl::Status {
    return TakeTree(record, quarantine, *tree, known, stop);
  });
}

absl::Status SourceImporter::ImportPatched(SourceRecord& record, std::span<const Patch> patches,
                                           const std::stop_token& stop) {
  const std::optional<ObjectId> base = ObjectId::FromHex(record.origin.tree);
  if (!base) return absl::InternalError("patches over a tree without an id");
  const ObjectDatabase::Addition addition(objects_);
  KDBG_ASSIGN_OR_RETURN(Quarantine quarantine, Quarantine::Make(objects_.git().repository()));
  KDBG_ASSIGN_OR_RETURN(const ObjectId tree, ApplyPatches(quarantine, *base, patches, stop));
  KDBG_ASSIGN_OR_RETURN(const Extents known,
                        WalkTrees(objects_.git(), {&*base, 1}, {}, limits_, kAllObjects, stop));
  return TakeTree(record, quarantine, tree, known, stop);
}

absl::Status SourceImporter::ImportRemote(SourceRecord& record, GitMirrors& mirrors,
                                          std::optional<uid_t> reader,
                                          const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const GitMirrors::Fetched fetched,
                        mirrors.Fetch(record.origin.text, record.origin.ref, reader, stop));
  record.origin.tree = fetched.commit();
  const std::optional<ObjectId> tree = ObjectId::FromHex(fetched.tree());
  if (!tree) return absl::InternalError("git names a tree by no id: " + fetched.tree());
  const ObjectDatabase::Addition addition(objects_);
  // What was taken the last time is still there while some source has it.
  std::string base = fetched.last_tree();
  Extents known;
  if (const std::optional<ObjectId> last = ObjectId::FromHex(base)) {
    auto found = WalkTrees(objects_.git(), {&*last, 1}, {}, limits_, kAllObjects, stop);
    if (absl::IsCancelled(found.status())) return found.status();
    if (found.ok()) known = *std::move(found);
  }
  if (known.empty()) base.clear();
  KDBG_ASSIGN_OR_RETURN(Quarantine quarantine, Quarantine::Make(objects_.git().repository()));
  if (base != fetched.tree()) {
    KDBG_ASSIGN_OR_RETURN(const UniqueFd pack, fetched.Pack(base, stop));
    KDBG_RETURN_IF_ERROR(quarantine.ReceivePack(pack, limits_, stop));
  }
  KDBG_RETURN_IF_ERROR(TakeTree(record, quarantine, *tree, known, stop));
  return fetched.NoteTaken(stop);
}

absl::Status SourceImporter::TakeTree(SourceRecord& record, Quarantine& quarantine,
                                      const ObjectId& tree, const Extents& known,
                                      const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const Extents found,
                        WalkTrees(quarantine.git(), {&tree, 1}, known, limits_, kAllObjects, stop));
  const auto known_tree = known.find(tree);
  const Extent& extent = known_tree != known.end() ? known_tree->second : found.at(tree);
  KDBG_RETURN_IF_ERROR(CheckExtent(extent, limits_));
  KDBG_RETURN_IF_ERROR(quarantine.Publish());
  return KeepTree(record, tree.Hex(), extent);
}

absl::StatusOr<bool> SourceImporter::UseKnownTree(SourceRecord& record) {
  const std::optional<ObjectId> tree = ObjectId::FromHex(record.origin.tree);
  if (!tree) return false;
  const ObjectDatabase::Addition addition(objects_);
  bool used = false;
  KDBG_RETURN_IF_ERROR(known_.With(record.owner, [&](const Extents& known) -> absl::Status {
    const auto found = known.find(*tree);
    if (found == known.end() || !found->second.is_tree) return absl::OkStatus();
    used = true;
    KDBG_RETURN_IF_ERROR(CheckExtent(found->second, limits_));
    return KeepTree(record, record.origin.tree, found->second);
  }));
  return used;
}

absl::Status SourceImporter::KeepTree(SourceRecord& record, const std::string& tree,
                                      const Extent& extent) {
  KDBG_RETURN_IF_ERROR(objects_.Keep(record.id, tree));
  record.tree = tree;
  record.files_imported = extent.files;
  record.bytes_imported = extent.bytes;
  SetProject(record);
  return absl::OkStatus();
}

void SourceImporter::SetProject(SourceRecord& record) const {
  absl::StatusOr<TreeReader> reader = objects_.OpenTree(record.tree);
  if (!reader.ok()) return;
  const Project project = DetectProject([&](std::string_view path) -> std::optional<std::string> {
    absl::StatusOr<std::string> content = reader->Read(path);
    if (!content.ok()) return std::nullopt;
    return *std::move(content);
  });
  record.project = project.name;
  record.project_version = ShortUtf8(project.version, kVersionBytes);
}

}  // namespace kdbg::source
