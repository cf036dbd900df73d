#include "server/build/builds.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stop_token>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/ids.h"
#include "server/build/build_failure.h"
#include "server/build/build_job.h"
#include "server/build/build_queue.h"
#include "server/build/build_table.h"
#include "server/build/gdb_indexer.h"
#include "server/build/kernel_builder.h"
#include "server/build/request_check.h"
#include "server/build/toolchain.h"
#include "server/host/sandbox.h"
#include "server/observe/log.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/store/artifact_store.h"

namespace kdbg::build {
namespace {

constexpr std::string_view kLogFile = "build.log";  // of an artifact

std::string_view KindName(BuildKind kind) {
  return kind == BuildKind::kKernel ? "kernel" : "initramfs";
}

// Two kinds or architectures never share a build directory.
std::string WorkspaceName(const BuildRecord& record, const source::SourceRecord& source) {
  std::string name = record.request.display_name;
  if (name.empty()) name = source.project.empty() ? "source" : source.project;
  return fmt::format("{}.{}.{}", name, KindName(record.kind()),
                     TraitsOf(ArchitectureOf(record.request)).name);
}

}  // namespace

class Builds::Impl {
 public:
  Impl(const BuildParts& parts, const BuildSettings& settings)
      : parts_(parts), settings_(settings), table_(parts.database) {}
  ~Impl();

  absl::Status Start();
  absl::StatusOr<BuildRecord> Create(std::string_view owner, BuildRequest request);
  absl::StatusOr<BuildRecord> Get(std::string_view id) const;
  absl::StatusOr<BuildRecord> Cancel(std::string_view id);
  absl::Status Delete(std::string_view id);
  absl::StatusOr<LogSlice> ReadLog(std::string_view id, std::int64_t offset_bytes,
                                   std::size_t max_bytes) const;
  // The stored record, with what is known of it beyond that.
  BuildRecord Current(BuildRecord stored) const;

  const BuildTable& table() const { return table_; }
  Subscribers<const BuildRecord&>& changes() { return changes_; }
  Subscribers<const std::string&>& log_changes() { return log_changes_; }

 private:
  // Its own, or that of the build that made the artifact it was answered with.
  std::filesystem::path LogOf(const BuildRecord& record) const;

  // A build that has not ended.
  struct Active {
    BuildRecord record;
    BuildQueue::Entry entry;
    std::stop_source stop;
    bool cancelled = false;  // by somebody, not by the end of the daemon
  };

  absl::Status CheckSandbox();
  absl::StatusOr<BuildRecord> Enqueue(BuildRecord record, const std::string& key);
  absl::StatusOr<BuildRecord> AnswerAtOnce(BuildRecord record, const std::string& key);
  void Work();
  void RunOne(const BuildQueue::Entry& entry);
  BuildRecord Conclude(BuildRecord record, const absl::Status& status, bool cancelled) const;
  void OnChange(const std::string& id, const BuildProgress& progress, std::int64_t log_size);
  void Announce(const BuildRecord& record);
  std::filesystem::path LogPath(std::string_view id) const {
    return settings_.logs_directory / fmt::format("{}.log", id);
  }

  const BuildParts parts_;
  const BuildSettings settings_;
  BuildTable table_;
  Subscribers<const BuildRecord&> changes_;
  Subscribers<const std::string&> log_changes_;

  mutable absl::Mutex mutex_;
  BuildQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Active, std::less<>> active_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool sandbox_usable_ ABSL_GUARDED_BY(mutex_) = false;

  std::unique_ptr<GdbIndexer> indexer_;
  std::vector<std::thread> workers_;
};

Builds::Impl::~Impl() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  // Under no lock: asking ends commands on this thread. Nobody removes entries but the workers,
  // which keep theirs until they have seen the stop.
  std::vector<std::stop_source> running;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [id, active] : active_) running.push_back(active.stop);
  }
  for (std::stop_source& stop : running) stop.request_stop();
  for (std::thread& worker : workers_) worker.join();
}

absl::Status Builds::Impl::Start() {
  KDBG_RETURN_IF_ERROR(MakeDirectories(settings_.logs_directory, 0700));
  KDBG_ASSIGN_OR_RETURN(std::vector<BuildRecord> unfinished, table_.Unfinished());
  for (BuildRecord& record : unfinished) {
    record.state = BuildState::kQueued;
    record.start_time.reset();
    record.progress = {};
    KDBG_RETURN_IF_ERROR(table_.Update(record));
    BuildQueue::Entry entry{record.id, record.owner, record.workspace};
    absl::MutexLock lock(&mutex_);
    queue_.Add(entry);
    Active& active = active_[record.id];
    active.entry = std::move(entry);
    active.record = std::move(record);
  }
  indexer_ = std::make_unique<GdbIndexer>(parts_, table_,
                                          settings_.logs_directory.parent_path() / "gdb-index");
  for (int i = 0; i < std::max(1, settings_.parallel); ++i) {
    workers_.emplace_back([this] { Work(); });
  }
  return absl::OkStatus();
}

absl::Status Builds::Impl::CheckSandbox() {
  {
    absl::MutexLock lock(&mutex_);
    if (sandbox_usable_) return absl::OkStatus();
  }
  const host::SandboxAbility ability = parts_.runner.Probe();
  if (!ability.usable) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kSandboxUnavailable,
                     fmt::format("builds run in a sandbox only, and this host cannot make one: {}",
                                 ability.reason));
  }
  absl::MutexLock lock(&mutex_);
  sandbox_usable_ = true;
  return absl::OkStatus();
}

absl::StatusOr<BuildRecord> Builds::Impl::Create(std::string_view owner, BuildRequest request) {
  if (!request.request_id.empty()) {
    auto earlier = table_.FindByRequest(owner, request.request_id);
    if (earlier.ok()) return Current(*std::move(earlier));
  }
  KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source, parts_.sources.Get(request.source_id));
  KDBG_RETURN_IF_ERROR(CheckRequest(request, source, parts_.objects));
  KDBG_RETURN_IF_ERROR(CheckSandbox());
  KDBG_ASSIGN_OR_RETURN(const Toolchain toolchain, FindToolchainFor(request));
  const std::string key = ActionKey(request, source.tree, toolchain);

  BuildRecord record;
  record.id = NewId("b");
  record.owner = std::string(owner);
  record.request = std::move(request);
  record.workspace = WorkspaceName(record, source);
  record.create_time = parts_.clock.Now();
  if (!SkipsCache(record.request)) {
    if (auto answered = AnswerAtOnce(record, key); answered.ok()) return answered;
  }
  return Enqueue(std::move(record), key);
}

absl::StatusOr<BuildRecord> Builds::Impl::AnswerAtOnce(BuildRecord record, const std::string& key) {
  KDBG_ASSIGN_OR_RETURN(const BuildRecord twin,
                        table_.FindByKey(record.owner, key, record.request.is_private));
  KDBG_ASSIGN_OR_RETURN(const store::Artifact artifact, parts_.artifacts.Get(twin.artifact_id));
  if (const auto* log = artifact.FindFile(kLogFile)) record.log_size_bytes = log->size_bytes;
  record.state = BuildState::kSucceeded;
  record.artifact_id = twin.artifact_id;
  record.answered_from_store = true;
  record.start_time = record.create_time;
  record.end_time = record.create_time;
  KDBG_RETURN_IF_ERROR(table_.Insert(record, key));
  return record;
}

absl::StatusOr<BuildRecord> Builds::Impl::Enqueue(BuildRecord record, const std::string& key) {
  {
    absl::MutexLock lock(&mutex_);
    if (ending_) {
      return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                       "the server is ending: try again when it is back", {}, absl::Seconds(5));
    }
    if (queue_.size() >= static_cast<std::size_t>(settings_.queue_limit)) {
      return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQueueFull,
                       fmt::format("{} builds are waiting already: try again later, or cancel one",
                                   queue_.size()),
                       {{"limit", std::to_string(settings_.queue_limit)}}, absl::Seconds(30));
    }
  }
  KDBG_RETURN_IF_ERROR(table_.Insert(record, key));
  BuildQueue::Entry entry{record.id, record.owner, record.workspace};
  absl::MutexLock lock(&mutex_);
  Active& active = active_[record.id];
  active.record = record;
  active.entry = entry;
  queue_.Add(std::move(entry));
  record.progress.queue_position = queue_.Position(record.id);
  return record;
}

BuildRecord Builds::Impl::Current(BuildRecord stored) const {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = active_.find(stored.id);
    if (found != active_.end()) {
      BuildRecord record = found->second.record;
      record.sequence = stored.sequence;
      record.progress.queue_position = queue_.Position(record.id);
      return record;
    }
  }
  if (IsFinal(stored.state)) return stored;
  // It ended since it was read: its end was written before it left the list.
  auto ended = table_.Get(stored.id);
  return ended.ok() ? *std::move(ended) : stored;
}

absl::StatusOr<BuildRecord> Builds::Impl::Get(std::string_view id) const {
  KDBG_ASSIGN_OR_RETURN(BuildRecord record, table_.Get(id));
  return Current(std::move(record));
}

absl::StatusOr<BuildRecord> Builds::Impl::Cancel(std::string_view id) {
  KDBG_RETURN_IF_ERROR(table_.Get(id).status());
  std::stop_source stop(std::nostopstate);
  BuildRecord waiting;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = active_.find(id);
    if (found != active_.end()) {
      found->second.cancelled = true;
      stop = found->second.stop;
      if (queue_.Remove(id)) {
        waiting = found->second.record;
        active_.erase(found);
      }
    }
  }
  if (!waiting.id.empty()) {
    const BuildRecord cancelled =
        Conclude(std::move(waiting), absl::CancelledError(""), /*cancelled=*/true);
    KDBG_RETURN_IF_ERROR(table_.Update(cancelled));
    Announce(cancelled);
    return cancelled;
  }
  stop.request_stop();
  {
    absl::MutexLock lock(&mutex_);
    const std::string wanted(id);
    const auto gone = [this, &wanted]()
                          ABSL_NO_THREAD_SAFETY_ANALYSIS { return !active_.contains(wanted); };
    mutex_.Await(absl::Condition(&gone));
  }
  return table_.Get(id);
}

absl::Status Builds::Impl::Delete(std::string_view id) {
  auto record = Get(id);
  if (absl::IsNotFound(record.status())) return absl::OkStatus();
  KDBG_RETURN_IF_ERROR(record.status());
  if (!IsFinal(record->state)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     fmt::format("builds/{} is {}: cancel it first", id, ToString(record->state)),
                     {{"resource", fmt::format("builds/{}", id)},
                      {"state", std::string(ToString(record->state))}});
  }
  KDBG_RETURN_IF_ERROR(table_.Delete(id));
  std::error_code ignored;
  std::filesystem::remove(LogPath(id), ignored);
  return absl::OkStatus();
}

std::filesystem::path Builds::Impl::LogOf(const BuildRecord& record) const {
  if (!record.answered_from_store) return LogPath(record.id);
  const auto artifact = parts_.artifacts.Get(record.artifact_id);
  const auto* log = artifact.ok() ? artifact->FindFile(kLogFile) : nullptr;
  return log != nullptr ? parts_.blobs.PathOf(log->digest) : LogPath(record.id);
}

absl::StatusOr<LogSlice> Builds::Impl::ReadLog(std::string_view id, std::int64_t offset_bytes,
                                               std::size_t max_bytes) const {
  // The state first: what ends after this adds nothing to what is read.
  KDBG_ASSIGN_OR_RETURN(const BuildRecord record, Get(id));
  KDBG_ASSIGN_OR_RETURN(LogSlice slice, ReadLogFile(LogOf(record), offset_bytes, max_bytes));
  slice.ended = IsFinal(record.state) && slice.data.size() < max_bytes;
  return slice;
}

void Builds::Impl::Announce(const BuildRecord& record) {
  changes_.Notify(record);
  log_changes_.Notify(record.id);
}

void Builds::Impl::OnChange(const std::string& id, const BuildProgress& progress,
                            std::int64_t log_size) {
  BuildRecord record;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = active_.find(id);
    if (found == active_.end()) return;
    found->second.record.progress = progress;
    found->second.record.log_size_bytes = log_size;
    record = found->second.record;
  }
  changes_.Notify(record);
}

void Builds::Impl::Work() {
  while (true) {
    BuildQueue::Entry entry;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return ending_ || queue_.CanStart();
      };
      mutex_.Await(absl::Condition(&awake));
      if (ending_) return;
      entry = *queue_.Start();
    }
    RunOne(entry);
  }
}

void Builds::Impl::RunOne(const BuildQueue::Entry& entry) {
  BuildRecord record;
  std::stop_token stop;
  {
    absl::MutexLock lock(&mutex_);
    Active& active = active_[entry.id];
    active.record.state = BuildState::kRunning;
    active.record.start_time = parts_.clock.Now();
    record = active.record;
    stop = active.stop.get_token();
  }
  absl::Status saved = table_.Update(record);
  changes_.Notify(record);
  BuildJob job(
      parts_, settings_, table_, record,
      {.on_change = [this, id = entry.id](const BuildProgress& progress,
                                          std::int64_t size) { OnChange(id, progress, size); },
       .on_log = [this, id = entry.id] { log_changes_.Notify(id); }},
      stop);
  absl::StatusOr<BuildRecord> result = saved.ok() ? job.Run() : saved;
  bool cancelled = false;
  bool ending = false;
  {
    absl::MutexLock lock(&mutex_);
    cancelled = active_[entry.id].cancelled;
    ending = ending_;
  }
  BuildRecord final = job.record();
  if (result.ok()) {
    if (!final.answered_from_store && final.kind() == BuildKind::kKernel) {
      indexer_->Add(final.artifact_id);
    }
  } else if (!cancelled && ending && stop.stop_requested()) {
    // Stays RUNNING in the database, so that the next start queues it again.
    absl::MutexLock lock(&mutex_);
    queue_.Finish(entry);
    active_.erase(entry.id);
    return;
  } else {
    final = Conclude(std::move(final), result.status(), cancelled);
    if (absl::Status updated = table_.Update(final); !updated.ok()) {
      spdlog::error("builds/{} cannot be recorded: {}", final.id, updated.ToString());
    }
  }
  spdlog::info("builds/{} of {} {}", final.id, final.owner, ToString(final.state));
  {
    absl::MutexLock lock(&mutex_);
    queue_.Finish(entry);
    active_.erase(entry.id);
  }
  Announce(final);
}

BuildRecord Builds::Impl::Conclude(BuildRecord record, const absl::Status& status,
                                   bool cancelled) const {
  record.end_time = parts_.clock.Now();
  if (cancelled && absl::IsCancelled(status)) {
    record.state = BuildState::kCancelled;
    return record;
  }
  record.state = BuildState::kFailed;
  record.failure = FailureOf(status);
  return record;
}

std::span<const state::Migration> Builds::Migrations() { return BuildTable::Migrations(); }

absl::StatusOr<std::unique_ptr<Builds>> Builds::Open(const BuildParts& parts,
                                                     const BuildSettings& settings) {
  auto impl = std::make_unique<Impl>(parts, settings);
  KDBG_RETURN_IF_ERROR(impl->Start());
  return std::unique_ptr<Builds>(new Builds(std::move(impl)));
}

Builds::Builds(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Builds::~Builds() = default;

absl::StatusOr<BuildRecord> Builds::Create(std::string_view owner, BuildRequest request) {
  return impl_->Create(owner, std::move(request));
}

absl::StatusOr<BuildRecord> Builds::Get(std::string_view id) const { return impl_->Get(id); }

absl::StatusOr<BuildRecord> Builds::FindByName(std::string_view owner,
                                               std::string_view display_name) const {
  KDBG_ASSIGN_OR_RETURN(BuildRecord record, impl_->table().FindByName(owner, display_name));
  return impl_->Current(std::move(record));
}

absl::StatusOr<BuildRecord> Builds::NewestSuccessful(std::string_view owner, BuildKind kind) const {
  return impl_->table().NewestSuccessful(owner, kind);
}

absl::StatusOr<std::vector<BuildRecord>> Builds::List(const ListQuery& query) const {
  KDBG_ASSIGN_OR_RETURN(std::vector<BuildRecord> records, impl_->table().List(query));
  for (BuildRecord& record : records) record = impl_->Current(std::move(record));
  return records;
}

absl::StatusOr<BuildRecord> Builds::Cancel(std::string_view id) { return impl_->Cancel(id); }

absl::Status Builds::Delete(std::string_view id) { return impl_->Delete(id); }

Subscription Builds::Subscribe(std::string_view id,
                               std::function<void(const BuildRecord&)> listener) {
  return impl_->changes().Add(
      [id = std::string(id), listener = std::move(listener)](const BuildRecord& record) {
        if (record.id == id) listener(record);
      });
}

absl::StatusOr<LogSlice> Builds::ReadLog(std::string_view id, std::int64_t offset_bytes,
                                         std::size_t max_bytes) const {
  return impl_->ReadLog(id, offset_bytes, max_bytes);
}

Subscription Builds::SubscribeLog(std::string_view id, std::function<void()> listener) {
  return impl_->log_changes().Add(
      [id = std::string(id), listener = std::move(listener)](const std::string& changed) {
        if (changed == id) listener();
      });
}

}  // namespace kdbg::build
