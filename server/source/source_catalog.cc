#include "server/source/source_catalog.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/base/ids.h"
#include "server/observe/log.h"
#include "server/source/git_mirrors.h"
#include "server/source/import_queue.h"
#include "server/source/origin_check.h"
#include "server/source/server_path.h"
#include "server/source/source_importer.h"
#include "server/source/source_records.h"
#include "server/store/blob_store.h"

namespace kdbg::source {
namespace {

using state::Transaction;

constexpr absl::Duration kRequestMemory = absl::Hours(24);

ImportLane LaneOf(OriginKind kind) {
  switch (kind) {
    case OriginKind::kTarball:
    case OriginKind::kServerPath:
      return ImportLane::kArchives;
    case OriginKind::kGitPack:
    case OriginKind::kPatched:
      return ImportLane::kPacks;
    case OriginKind::kGitUrl:
    case OriginKind::kTarballUrl:
      return ImportLane::kRemotes;
  }
  return ImportLane::kArchives;
}

// A pack or patch can be made to take long; one caller's must not take all threads that answer
// calls.
absl::Status BusyImporting() {
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                   "another source of yours is being imported: try again, or send a pack as an "
                   "upload",
                   {{"limit", "1"}}, absl::Seconds(1));
}

absl::Status NotFound(std::string_view id) {
  return ResourceNotFound(ResourceName(kSources, std::string(id)));
}

}  // namespace

class SourceCatalog::Impl {
 public:
  Impl(state::Database& database, ObjectDatabase& objects, UploadStore& uploads, const Clock& clock,
       SourceSettings settings)
      : database_(database),
        objects_(objects),
        uploads_(uploads),
        clock_(clock),
        settings_(std::move(settings)),
        check_(database, uploads, settings_.allowed_paths, settings_.remotes.allowed_urls),
        mirrors_(settings_.mirrors, settings_.remotes),
        importer_(database, objects, settings_.archive_limits) {}

  absl::Status Start();
  absl::StatusOr<SourceRecord> Create(const SourceRequest& request);
  absl::StatusOr<SourceRecord> Get(std::string_view id) const;
  absl::StatusOr<std::vector<SourceRecord>> List(const ListQuery& query) const;
  absl::Status Delete(std::string_view id);
  KnownObjects& known() { return importer_.known(); }
  GitMirrors& mirrors() { return mirrors_; }
  Subscription Subscribe(std::function<void(const SourceRecord&)> listener) {
    return subscribers_->Add(std::move(listener));
  }

 private:
  // What is there already for this request, if anything is.
  absl::StatusOr<std::optional<SourceRow>> FindExisting(Transaction& transaction,
                                                        const SourceRow& wanted) const;
  absl::StatusOr<SourceRecord> CreateFromKnown(SourceRow row);
  absl::StatusOr<SourceRecord> CreateFromPack(SourceRow row, const std::string& pack);
  // Imports on this thread, one of an owner's at a time.
  absl::StatusOr<SourceRecord> CreateAtOnce(
      SourceRow row, absl::FunctionRef<absl::Status(SourceRecord& record)> import);
  absl::StatusOr<SourceRecord> AddReady(SourceRow row);
  void Announce(Transaction& transaction, const SourceRecord& record) const;
  void Enqueue(const SourceRecord& record, UniqueFd fd);

  void Work(const std::string& id, const std::stop_token& stop);
  absl::Status Import(SourceRow& row, const std::stop_token& stop);
  absl::StatusOr<UniqueFd> OpenBytes(const SourceRow& row, const std::stop_token& stop);
  absl::StatusOr<UniqueFd> DownloadOf(const SourceRow& row, const std::stop_token& stop);
  void Finish(SourceRow& row, const absl::Status& status);
  void ReportProgress(SourceRecord record, const ImportProgress& progress);

  state::Database& database_;
  ObjectDatabase& objects_;
  UploadStore& uploads_;
  const Clock& clock_;
  const SourceSettings settings_;
  OriginCheck check_;
  GitMirrors mirrors_;
  SourceImporter importer_;
  const std::shared_ptr<Subscribers<const SourceRecord&>> subscribers_ =
      std::make_shared<Subscribers<const SourceRecord&>>();

  mutable absl::Mutex mutex_;
  std::map<std::string, UniqueFd> files_ ABSL_GUARDED_BY(mutex_);  // of queued server paths
  // Of imports that run.
  std::map<std::string, ImportProgress, std::less<>> progress_ ABSL_GUARDED_BY(mutex_);
  // Owners with a pack that is imported on the caller's own thread.
  std::set<std::string, std::less<>> importing_at_once_ ABSL_GUARDED_BY(mutex_);
  std::optional<ImportQueue> queue_;  // last: its threads use the rest
};

// ---- Requests

absl::StatusOr<std::optional<SourceRow>> SourceCatalog::Impl::FindExisting(
    Transaction& transaction, const SourceRow& wanted) const {
  const SourceRecord& record = wanted.record;
  if (!wanted.request_id.empty()) {
    KDBG_ASSIGN_OR_RETURN(std::optional<SourceRow> repeated,
                          SourceRecords::FindByRequest(transaction, record.owner, wanted.request_id,
                                                       clock_.Now() - kRequestMemory));
    if (repeated) return repeated;
  }
  if (record.origin.kind == OriginKind::kGitPack) {
    return SourceRecords::FindByTree(transaction, record.owner, record.origin.tree);
  }
  if (!record.origin.sha256.empty()) {
    return SourceRecords::FindByDigest(transaction, record.owner, record.origin.sha256);
  }
  if (record.origin.kind == OriginKind::kTarballUrl && !record.origin.ref.empty()) {
    KDBG_ASSIGN_OR_RETURN(
        std::optional<SourceRow> known,
        SourceRecords::FindByDigest(transaction, record.owner, record.origin.ref));
    if (known) return known;
  }
  return SourceRecords::FindImporting(transaction, record.owner, record.origin.kind,
                                      record.origin.text, record.origin.ref);
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::Create(const SourceRequest& request) {
  KDBG_ASSIGN_OR_RETURN(IncomingSource incoming, check_.Check(request));
  SourceRow row;
  row.record.id = NewId("s");
  row.record.owner = request.owner;
  row.record.origin = incoming.origin;
  row.record.create_time = clock_.Now();
  row.request_id = request.request_id;
  row.reader = request.reader;
  row.delta_bases = request.delta_bases;
  const bool is_patched = incoming.origin.kind == OriginKind::kPatched;
  const bool needs_upload = !is_patched && request.pack.empty() && !incoming.has_bytes;
  bool existed = false;
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(std::optional<SourceRow> existing, FindExisting(transaction, row));
    existed = existing.has_value();
    if (existed) row = *std::move(existing);
    if (existed || !incoming.has_bytes) return absl::OkStatus();
    KDBG_RETURN_IF_ERROR(SourceRecords::Insert(transaction, row));
    Announce(transaction, row.record);
    return absl::OkStatus();
  }));
  if (existed) return row.record;
  if (needs_upload) return CreateFromKnown(std::move(row));
  if (is_patched) {
    return CreateAtOnce(std::move(row), [&](SourceRecord& record) {
      return importer_.ImportPatched(record, request.patches, std::stop_token());
    });
  }
  if (!incoming.has_bytes) return CreateFromPack(std::move(row), request.pack);
  // The same bytes, which this owner has too: their tree is there, under whoever's name.
  const absl::StatusOr<bool> reused = importer_.Reuse(row.record);
  if (reused.ok() && *reused) {
    Finish(row, absl::OkStatus());
    return row.record;
  }
  Enqueue(row.record, std::move(incoming.fd));
  return row.record;
}

// Without bytes: good for a tree that the owner may read already.
absl::StatusOr<SourceRecord> SourceCatalog::Impl::CreateFromKnown(SourceRow row) {
  const SourceOrigin& origin = row.record.origin;
  const bool is_pack = origin.kind == OriginKind::kGitPack;
  if (is_pack) {
    KDBG_ASSIGN_OR_RETURN(const bool used, importer_.UseKnownTree(row.record));
    if (used) return AddReady(std::move(row));
  }
  if (!origin.upload.empty()) {
    KDBG_RETURN_IF_ERROR(uploads_.OpenComplete(origin.upload).status());
    return absl::AbortedError("the upload was completed meanwhile: try again");
  }
  return MakeError(
      absl::StatusCode::kNotFound, Reason::kResourceNotFound,
      fmt::format("this {} is not known here; upload it first", is_pack ? "tree" : "tarball"),
      {{"resource", is_pack ? origin.tree : origin.sha256}});
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::CreateFromPack(SourceRow row,
                                                                 const std::string& pack) {
  const std::vector<ObjectId> bases = row.delta_bases;
  return CreateAtOnce(std::move(row), [&](SourceRecord& record) -> absl::Status {
    const UniqueFd bytes(::memfd_create("pack", MFD_CLOEXEC));
    if (!bytes) return ErrnoError(errno, "memfd_create");
    KDBG_RETURN_IF_ERROR(WriteAll(bytes.get(), pack));
    return importer_.ImportPack(record, bytes, bases, std::stop_token());
  });
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::CreateAtOnce(
    SourceRow row, absl::FunctionRef<absl::Status(SourceRecord& record)> import) {
  const std::string owner = row.record.owner;
  {
    absl::MutexLock lock(&mutex_);
    if (!importing_at_once_.insert(owner).second) return BusyImporting();
  }
  const absl::Status status = import(row.record);
  {
    absl::MutexLock lock(&mutex_);
    importing_at_once_.erase(owner);
  }
  KDBG_RETURN_IF_ERROR(status);
  return AddReady(std::move(row));
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::AddReady(SourceRow row) {
  row.record.state = SourceState::kReady;
  row.record.ready_time = clock_.Now();
  absl::Status written = database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(SourceRecords::Insert(transaction, row));
    Announce(transaction, row.record);
    return absl::OkStatus();
  });
  if (written.ok()) return std::move(row.record);
  objects_.Forget(row.record.id).IgnoreError();
  return written;
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::Get(std::string_view id) const {
  std::optional<SourceRow> row;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(row, SourceRecords::Find(transaction, id));
    return absl::OkStatus();
  }));
  if (!row) return NotFound(id);
  absl::MutexLock lock(&mutex_);
  const auto progress = progress_.find(id);
  if (progress != progress_.end() && row->record.state == SourceState::kImporting) {
    row->record.files_imported = progress->second.files;
    row->record.bytes_imported = progress->second.bytes;
  }
  return std::move(row->record);
}

absl::StatusOr<std::vector<SourceRecord>> SourceCatalog::Impl::List(const ListQuery& query) const {
  std::vector<SourceRecord> records;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(std::vector<SourceRow> rows, SourceRecords::List(transaction, query));
    for (SourceRow& row : rows) records.push_back(std::move(row.record));
    return absl::OkStatus();
  }));
  return records;
}

absl::Status SourceCatalog::Impl::Delete(std::string_view id) {
  KDBG_RETURN_IF_ERROR(database_.Write(
      [&](Transaction& transaction) { return SourceRecords::Delete(transaction, id); }));
  // One that runs finds no record any more and lets the tree go.
  queue_->Cancel(std::string(id));
  {
    absl::MutexLock lock(&mutex_);
    files_.erase(std::string(id));
  }
  if (!IsResourceId(id)) return absl::OkStatus();
  return objects_.Forget(id);
}

void SourceCatalog::Impl::Announce(Transaction& transaction, const SourceRecord& record) const {
  transaction.AfterCommit([subscribers = subscribers_, record] { subscribers->Notify(record); });
}

void SourceCatalog::Impl::Enqueue(const SourceRecord& record, UniqueFd fd) {
  {
    absl::MutexLock lock(&mutex_);
    if (fd) files_[record.id] = std::move(fd);
  }
  queue_->Add(record.id, LaneOf(record.origin.kind));
}

// ---- Imports

absl::Status SourceCatalog::Impl::Start() {
  std::vector<SourceRow> unfinished;
  std::vector<SourceRow> all;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(unfinished, SourceRecords::Unfinished(transaction));
    KDBG_ASSIGN_OR_RETURN(all, SourceRecords::List(transaction, {.limit = -1}));
    return absl::OkStatus();
  }));
  // Trees that were kept just before a crash, or let go of just after their record went.
  KDBG_ASSIGN_OR_RETURN(const std::vector<std::string> kept, objects_.Kept());
  for (const std::string& id : kept) {
    const bool known = std::any_of(all.begin(), all.end(),
                                   [&](const SourceRow& row) { return row.record.id == id; });
    if (id.starts_with("s-") && !known) KDBG_RETURN_IF_ERROR(objects_.Forget(id));
  }
  queue_.emplace([this](const std::string& id, const std::stop_token& stop) { Work(id, stop); });
  for (const SourceRow& row : unfinished) Enqueue(row.record, UniqueFd());
  return absl::OkStatus();
}

void SourceCatalog::Impl::Work(const std::string& id, const std::stop_token& stop) {
  std::optional<SourceRow> row;
  const absl::Status found = database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(row, SourceRecords::Find(transaction, id));
    return absl::OkStatus();
  });
  if (!found.ok()) spdlog::error("source {}: {}", id, found.ToString());
  if (row) {
    const absl::Status status = Import(*row, stop);
    // Stopped: by Delete, then there is no record; or by our end, then the next start begins
    // again.
    if (!absl::IsCancelled(status)) Finish(*row, status);
  }
  absl::MutexLock lock(&mutex_);
  files_.erase(id);
  progress_.erase(id);
}

absl::StatusOr<UniqueFd> SourceCatalog::Impl::DownloadOf(const SourceRow& row,
                                                         const std::stop_token& stop) {
  UniqueFd file(::open(settings_.mirrors.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (!file) return DiskError(errno, "create a file in", settings_.mirrors);
  KDBG_RETURN_IF_ERROR(Download(
      row.record.origin.text, settings_.remotes, file,
      [&](std::int64_t bytes) { ReportProgress(row.record, {.files = 0, .bytes = bytes}); }, stop));
  return file;
}

absl::StatusOr<UniqueFd> SourceCatalog::Impl::OpenBytes(const SourceRow& row,
                                                        const std::stop_token& stop) {
  const SourceOrigin& origin = row.record.origin;
  if (origin.kind == OriginKind::kTarballUrl) return DownloadOf(row, stop);
  if (!origin.upload.empty()) return uploads_.OpenComplete(origin.upload);
  {
    absl::MutexLock lock(&mutex_);
    const auto found = files_.find(row.record.id);
    if (found != files_.end()) return std::move(found->second);
  }
  KDBG_ASSIGN_OR_RETURN(ServerFile file,
                        OpenServerFile(origin.text, settings_.allowed_paths, row.reader));
  return std::move(file.fd);
}

absl::Status SourceCatalog::Impl::Import(SourceRow& row, const std::stop_token& stop) {
  if (row.record.origin.kind == OriginKind::kGitUrl) {
    return importer_.ImportRemote(row.record, mirrors_, row.reader, stop);
  }
  KDBG_ASSIGN_OR_RETURN(const UniqueFd bytes, OpenBytes(row, stop));
  if (row.record.origin.kind == OriginKind::kGitPack) {
    return importer_.ImportPack(row.record, bytes, row.delta_bases, stop);
  }
  return importer_.ImportTarball(
      row.record, bytes,
      [&](const ImportProgress& progress) { ReportProgress(row.record, progress); }, stop);
}

void SourceCatalog::Impl::ReportProgress(SourceRecord record, const ImportProgress& progress) {
  {
    absl::MutexLock lock(&mutex_);
    progress_[record.id] = progress;
  }
  record.files_imported = progress.files;
  record.bytes_imported = progress.bytes;
  subscribers_->Notify(record);
}

void SourceCatalog::Impl::Finish(SourceRow& row, const absl::Status& status) {
  SourceRecord& record = row.record;
  if (status.ok()) {
    record.state = SourceState::kReady;
    record.ready_time = clock_.Now();
  } else {
    spdlog::info("source {} of {} failed: {}", record.id, record.owner, status.ToString());
    record.state = SourceState::kFailed;
    record.failure = FailureOf(status);
  }
  // Bytes that failed for lack of room may be asked for again; all others have done their part.
  const bool host_fault = record.failure && record.failure->fault == SourceFault::kHost;
  bool exists = false;
  const absl::Status written = database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(exists, SourceRecords::Update(transaction, record));
    if (!record.origin.upload.empty() && !host_fault) {
      KDBG_RETURN_IF_ERROR(uploads_.Remove(transaction, record.origin.upload));
    }
    if (exists) Announce(transaction, record);
    return absl::OkStatus();
  });
  if (!written.ok()) {
    // The record still says IMPORTING: the next start tries again.
    spdlog::error("source {}: {}", record.id, written.ToString());
    return;
  }
  if (!exists) objects_.Forget(record.id).IgnoreError();
}

// ---- SourceCatalog

SourceCatalog::SourceCatalog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SourceCatalog::~SourceCatalog() = default;

std::span<const state::Migration> SourceCatalog::Migrations() {
  return SourceRecords::Migrations();
}

absl::StatusOr<std::unique_ptr<SourceCatalog>> SourceCatalog::Open(state::Database& database,
                                                                   ObjectDatabase& objects,
                                                                   UploadStore& uploads,
                                                                   const Clock& clock,
                                                                   const SourceSettings& settings) {
  auto impl = std::make_unique<Impl>(database, objects, uploads, clock, settings);
  KDBG_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<SourceCatalog>(new SourceCatalog(std::move(impl)));
}

absl::StatusOr<SourceRecord> SourceCatalog::Create(const SourceRequest& request) {
  return impl_->Create(request);
}

absl::StatusOr<std::vector<ObjectId>> SourceCatalog::KnownTo(std::string_view owner,
                                                             std::span<const ObjectId> ids) {
  return impl_->known().Filter(owner, ids);
}

absl::StatusOr<SourceRecord> SourceCatalog::Get(std::string_view id) const {
  return impl_->Get(id);
}

absl::StatusOr<std::vector<SourceRecord>> SourceCatalog::List(const ListQuery& query) const {
  return impl_->List(query);
}

absl::Status SourceCatalog::Delete(std::string_view id) { return impl_->Delete(id); }

absl::Status SourceCatalog::RemoveUnusedMirrors(absl::Duration age) {
  return impl_->mirrors().RemoveUnused(absl::Now() - age);
}

Subscription SourceCatalog::Subscribe(std::function<void(const SourceRecord&)> listener) {
  return impl_->Subscribe(std::move(listener));
}

}  // namespace kdbg::source
