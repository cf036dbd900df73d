#include "server/source/source_catalog.h"

#include <algorithm>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/base/ids.h"
#include "server/observe/log.h"
#include "server/source/server_path.h"
#include "server/source/source_importer.h"
#include "server/source/source_records.h"
#include "server/store/blob_store.h"

namespace kdbg::source {
namespace {

using state::Transaction;

constexpr absl::Duration kRequestMemory = absl::Hours(24);

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
        importer_(database, objects, settings_.archive_limits) {}

  ~Impl() {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    if (running_) running_->stop.request_stop();
  }

  absl::Status Start();
  absl::StatusOr<SourceRecord> Create(std::string_view owner, const SourceOrigin& origin,
                                      std::optional<uid_t> reader, std::string_view request_id);
  absl::StatusOr<SourceRecord> Get(std::string_view id) const;
  absl::StatusOr<std::vector<SourceRecord>> List(const ListQuery& query) const;
  absl::Status Delete(std::string_view id);
  Subscription Subscribe(std::function<void(const SourceRecord&)> listener) {
    return subscribers_->Add(std::move(listener));
  }

 private:
  // What Create found out about where the bytes come from.
  struct Incoming {
    SourceOrigin origin;
    bool has_bytes = false;  // the caller has shown that they have them
    UniqueFd fd;             // of a server path
  };
  struct Running {
    std::string id;
    std::stop_source stop;
    ImportProgress progress;
  };

  absl::StatusOr<Incoming> CheckTarball(std::string_view owner, const SourceOrigin& origin) const;
  absl::StatusOr<Incoming> CheckServerPath(const SourceOrigin& origin,
                                           std::optional<uid_t> reader) const;
  // What is there already for this request, if anything is.
  absl::StatusOr<std::optional<SourceRow>> FindExisting(Transaction& transaction,
                                                        const SourceRow& wanted) const;
  void Announce(Transaction& transaction, const SourceRecord& record) const;
  void Enqueue(std::string id, UniqueFd fd);

  void Work();
  // Waits for the next job; nullopt when closing.
  std::optional<std::string> NextJob();
  absl::Status Import(SourceRow& row, const std::stop_token& stop);
  absl::StatusOr<UniqueFd> OpenBytes(const SourceRow& row);
  void Finish(SourceRow& row, const absl::Status& status);
  void ReportProgress(SourceRecord record, const ImportProgress& progress);

  state::Database& database_;
  ObjectDatabase& objects_;
  UploadStore& uploads_;
  const Clock& clock_;
  const SourceSettings settings_;
  SourceImporter importer_;
  const std::shared_ptr<Subscribers<const SourceRecord&>> subscribers_ =
      std::make_shared<Subscribers<const SourceRecord&>>();

  mutable absl::Mutex mutex_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, UniqueFd> files_ ABSL_GUARDED_BY(mutex_);  // of queued server paths
  std::optional<Running> running_ ABSL_GUARDED_BY(mutex_);
  std::jthread worker_;  // last: joined before the rest goes
};

// ---- Requests

absl::StatusOr<SourceCatalog::Impl::Incoming> SourceCatalog::Impl::CheckTarball(
    std::string_view owner, const SourceOrigin& origin) const {
  Incoming incoming;
  incoming.origin = origin;
  if (!origin.upload.empty()) {
    KDBG_ASSIGN_OR_RETURN(const Upload upload, uploads_.Get(origin.upload));
    if (upload.owner != owner) return ResourceNotFound(ResourceName(kUploads, origin.upload));
    if (incoming.origin.sha256.empty()) incoming.origin.sha256 = upload.sha256;
    if (incoming.origin.sha256 != upload.sha256) {
      return InvalidField("tarball.sha256", origin.sha256,
                          "the upload was announced with another digest");
    }
    incoming.has_bytes = upload.complete;
  }
  if (!store::IsDigest(incoming.origin.sha256)) {
    return InvalidField("tarball.sha256", origin.sha256, "sha256 must be 64 lower-case hex digits");
  }
  return incoming;
}

absl::StatusOr<SourceCatalog::Impl::Incoming> SourceCatalog::Impl::CheckServerPath(
    const SourceOrigin& origin, std::optional<uid_t> reader) const {
  KDBG_ASSIGN_OR_RETURN(ServerFile file,
                        OpenServerFile(origin.text, settings_.allowed_paths, reader));
  KDBG_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(file.fd));
  Incoming incoming;
  incoming.origin.kind = OriginKind::kServerPath;
  incoming.origin.text = file.path.string();
  incoming.has_bytes = true;
  incoming.fd = std::move(file.fd);
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(incoming.origin.sha256, SourceRecords::KnownDigest(transaction, stamp));
    return absl::OkStatus();
  }));
  return incoming;
}

absl::StatusOr<std::optional<SourceRow>> SourceCatalog::Impl::FindExisting(
    Transaction& transaction, const SourceRow& wanted) const {
  const SourceRecord& record = wanted.record;
  if (!wanted.request_id.empty()) {
    KDBG_ASSIGN_OR_RETURN(std::optional<SourceRow> repeated,
                          SourceRecords::FindByRequest(transaction, record.owner, wanted.request_id,
                                                       clock_.Now() - kRequestMemory));
    if (repeated) return repeated;
  }
  if (!record.origin.sha256.empty()) {
    return SourceRecords::FindByDigest(transaction, record.owner, record.origin.sha256);
  }
  return SourceRecords::FindByPath(transaction, record.owner, record.origin.text);
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::Create(std::string_view owner,
                                                         const SourceOrigin& origin,
                                                         std::optional<uid_t> reader,
                                                         std::string_view request_id) {
  absl::StatusOr<Incoming> incoming =
      MakeError(absl::StatusCode::kUnimplemented, Reason::kNotImplemented,
                "only tarballs can be imported yet; upload one, or name one on the server",
                {{"method", "CreateSource"}});
  if (origin.kind == OriginKind::kTarball) incoming = CheckTarball(owner, origin);
  if (origin.kind == OriginKind::kServerPath) incoming = CheckServerPath(origin, reader);
  KDBG_RETURN_IF_ERROR(incoming.status());

  SourceRow row;
  row.record.id = NewId("s");
  row.record.owner = owner;
  row.record.origin = incoming->origin;
  row.record.create_time = clock_.Now();
  row.request_id = request_id;
  row.reader = reader;
  bool existed = false;
  KDBG_RETURN_IF_ERROR(database_.Write([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(std::optional<SourceRow> existing, FindExisting(transaction, row));
    if (existing) {
      existed = true;
      row = *std::move(existing);
      return absl::OkStatus();
    }
    if (!incoming->has_bytes) {
      if (!row.record.origin.upload.empty()) {
        return uploads_.OpenComplete(row.record.origin.upload).status();
      }
      return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                       "this tarball is not known here; upload it first",
                       {{"resource", row.record.origin.sha256}});
    }
    KDBG_RETURN_IF_ERROR(SourceRecords::Insert(transaction, row));
    Announce(transaction, row.record);
    return absl::OkStatus();
  }));
  if (existed) return row.record;
  // The same bytes, which this owner has too: their tree is there, under whoever's name.
  const absl::StatusOr<bool> reused = importer_.Reuse(row.record);
  if (reused.ok() && *reused) {
    Finish(row, absl::OkStatus());
    return row.record;
  }
  Enqueue(row.record.id, std::move(incoming->fd));
  return row.record;
}

absl::StatusOr<SourceRecord> SourceCatalog::Impl::Get(std::string_view id) const {
  std::optional<SourceRow> row;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(row, SourceRecords::Find(transaction, id));
    return absl::OkStatus();
  }));
  if (!row) return NotFound(id);
  absl::MutexLock lock(&mutex_);
  if (running_ && running_->id == id && row->record.state == SourceState::kImporting) {
    row->record.files_imported = running_->progress.files;
    row->record.bytes_imported = running_->progress.bytes;
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
  {
    absl::MutexLock lock(&mutex_);
    std::erase(queue_, id);
    files_.erase(std::string(id));
    // The worker finds no record any more and lets the tree go.
    if (running_ && running_->id == id) running_->stop.request_stop();
  }
  if (!IsResourceId(id)) return absl::OkStatus();
  return objects_.Forget(id);
}

void SourceCatalog::Impl::Announce(Transaction& transaction, const SourceRecord& record) const {
  transaction.AfterCommit([subscribers = subscribers_, record] { subscribers->Notify(record); });
}

void SourceCatalog::Impl::Enqueue(std::string id, UniqueFd fd) {
  absl::MutexLock lock(&mutex_);
  if (fd) files_[id] = std::move(fd);
  queue_.push_back(std::move(id));
}

// ---- The worker

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
  for (const SourceRow& row : unfinished) Enqueue(row.record.id, UniqueFd());
  worker_ = std::jthread([this] { Work(); });
  return absl::OkStatus();
}

std::optional<std::string> SourceCatalog::Impl::NextJob() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](Impl* self)
           ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->closing_ || !self->queue_.empty(); },
      this));
  if (closing_) return std::nullopt;
  running_.emplace(Running{.id = std::move(queue_.front()), .stop = {}, .progress = {}});
  queue_.pop_front();
  return running_->id;
}

void SourceCatalog::Impl::Work() {
  while (const std::optional<std::string> id = NextJob()) {
    std::stop_token stop;
    {
      absl::MutexLock lock(&mutex_);
      stop = running_->stop.get_token();
    }
    std::optional<SourceRow> row;
    const absl::Status found = database_.Read([&](Transaction& transaction) -> absl::Status {
      KDBG_ASSIGN_OR_RETURN(row, SourceRecords::Find(transaction, *id));
      return absl::OkStatus();
    });
    if (!found.ok()) spdlog::error("source {}: {}", *id, found.ToString());
    if (row) {
      const absl::Status status = Import(*row, stop);
      // Stopped: by Delete, then there is no record; or by our end, then the next start begins
      // again.
      if (!absl::IsCancelled(status)) Finish(*row, status);
    }
    absl::MutexLock lock(&mutex_);
    files_.erase(*id);
    running_.reset();
  }
}

absl::StatusOr<UniqueFd> SourceCatalog::Impl::OpenBytes(const SourceRow& row) {
  const SourceOrigin& origin = row.record.origin;
  if (origin.kind == OriginKind::kTarball) return uploads_.OpenComplete(origin.upload);
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
  KDBG_ASSIGN_OR_RETURN(const UniqueFd bytes, OpenBytes(row));
  return importer_.Import(
      row.record, bytes,
      [&](const ImportProgress& progress) { ReportProgress(row.record, progress); }, stop);
}

void SourceCatalog::Impl::ReportProgress(SourceRecord record, const ImportProgress& progress) {
  {
    absl::MutexLock lock(&mutex_);
    if (running_) running_->progress = progress;
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

absl::StatusOr<SourceRecord> SourceCatalog::Create(std::string_view owner,
                                                   const SourceOrigin& origin,
                                                   std::optional<uid_t> reader,
                                                   std::string_view request_id) {
  return impl_->Create(owner, origin, reader, request_id);
}

absl::StatusOr<SourceRecord> SourceCatalog::Get(std::string_view id) const {
  return impl_->Get(id);
}

absl::StatusOr<std::vector<SourceRecord>> SourceCatalog::List(const ListQuery& query) const {
  return impl_->List(query);
}

absl::Status SourceCatalog::Delete(std::string_view id) { return impl_->Delete(id); }

Subscription SourceCatalog::Subscribe(std::function<void(const SourceRecord&)> listener) {
  return impl_->Subscribe(std::move(listener));
}

}  // namespace kdbg::source
