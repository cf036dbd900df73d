#include "server/build/builds.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/ids.h"
#include "server/build/active_builds.h"
#include "server/build/build_failure.h"
#include "server/build/build_job.h"
#include "server/build/build_table.h"
#include "server/build/disk_room.h"
#include "server/build/gdb_indexer.h"
#include "server/build/initramfs_inputs.h"
#include "server/build/kernel_builder.h"
#include "server/build/request_check.h"
#include "server/build/toolchain.h"
#include "server/host/sandbox.h"
#include "server/observe/log.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/source/trusted_sources.h"
#include "server/store/artifact_store.h"

namespace kdbg::build {
namespace {

constexpr std::string_view kLogFile = "build.log";  // of an artifact

std::string_view KindName(BuildKind kind) {
  return kind == BuildKind::kKernel ? "kernel" : "initramfs";
}

// Two kinds or architectures never share a build directory.
std::string WorkspaceName(const BuildRecord& record, const source::SourceRecord& source) {
  std::string name = record.request.workspace;
  if (name.empty()) name = record.request.display_name;
  if (name.empty()) name = source.project.empty() ? "source" : source.project;
  return fmt::format("{}.{}.{}", name, KindName(record.kind()),
                     TraitsOf(ArchitectureOf(record.request)).name);
}

ActiveBuilds::Priority PriorityOf(const BuildRecord& record) {
  return record.owner == source::kTrustedOwner ? ActiveBuilds::Priority::kBackground
                                               : ActiveBuilds::Priority::kNormal;
}

}  // namespace

class Builds::Impl {
 public:
  Impl(const BuildParts& parts, const BuildSettings& settings)
      : parts_(parts),
        settings_(settings),
        disk_room_(parts.workspaces, settings.logs_directory, settings.free_space_floor_bytes),
        table_(parts.database),
        active_(static_cast<std::size_t>(settings.queue_limit)) {}
  ~Impl();

  absl::Status Start();
  absl::StatusOr<BuildRecord> Create(std::string_view owner, BuildRequest request);
  absl::StatusOr<std::optional<BuildRecord>> FindSame(std::string_view owner,
                                                      const BuildRequest& request) const;
  absl::StatusOr<BuildRecord> Get(std::string_view id) const;
  absl::StatusOr<BuildRecord> Cancel(std::string_view id);
  absl::Status Delete(std::string_view id);
  absl::StatusOr<LogSlice> ReadLog(std::string_view id, std::int64_t offset_bytes,
                                   std::size_t max_bytes) const;
  // The stored record, with what is known of it beyond that.
  BuildRecord Current(BuildRecord stored) const;

  void SetHeld(bool held) { active_.SetHeld(held); }
  BuildNumbers Count() const { return active_.Count(); }

  const BuildTable& table() const { return table_; }
  Subscribers<const BuildRecord&>& changes() { return changes_; }
  Subscribers<const std::string&>& log_changes() { return log_changes_; }

 private:
  absl::StatusOr<std::string> KeyOf(const BuildRequest& request,
                                    const source::SourceRecord& source) const;
  absl::Status CheckSandbox();
  absl::StatusOr<BuildRecord> AnswerAtOnce(BuildRecord record);
  // NOT_FOUND when nobody makes the same.
  absl::StatusOr<BuildRecord> Join(BuildRecord record);
  absl::StatusOr<BuildRecord> Enqueue(BuildRecord record);
  absl::StatusOr<BuildRecord> Place(BuildRecord record);
  void Work();
  // Those that have ended, as they are in the database.
  std::vector<BuildRecord> Do(const ActiveBuilds::Started& started);
  std::vector<BuildRecord> Conclude(std::vector<BuildRecord> members, const absl::Status& status,
                                    bool cancelled);
  void OnChange(const std::string& work, const BuildProgress& progress, std::int64_t log_size);
  void Announce(const BuildRecord& record);
  void AnnounceEnd(const BuildRecord& record);

  std::filesystem::path LogPath(std::string_view id) const {
    return settings_.logs_directory / fmt::format("{}.log", id);
  }
  // Its own, or that of the build that made the artifact it was answered with.
  std::filesystem::path LogOf(const BuildRecord& record) const;

  const BuildParts parts_;
  const BuildSettings settings_;
  DiskRoom disk_room_;
  BuildTable table_;
  Subscribers<const BuildRecord&> changes_;
  Subscribers<const std::string&> log_changes_;
  ActiveBuilds active_;
  std::atomic<bool> sandbox_usable_ = false;
  std::unique_ptr<GdbIndexer> indexer_;
  std::vector<std::thread> workers_;
};

Builds::Impl::~Impl() {
  active_.End();
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
    // Those that shared one work share one again; their logs are the same file already.
    const auto work = SkipsCache(record.request) ? std::nullopt : active_.FindWork(record);
    if (!work || !active_.Join(work->id, record)) active_.Add(record, PriorityOf(record));
  }
  indexer_ = std::make_unique<GdbIndexer>(parts_, table_, settings_.index_directory);
  for (int i = 0; i < std::max(1, settings_.parallel); ++i) {
    workers_.emplace_back([this] { Work(); });
  }
  return absl::OkStatus();
}

absl::Status Builds::Impl::CheckSandbox() {
  if (sandbox_usable_) return absl::OkStatus();
  const host::SandboxAbility ability = parts_.runner.Probe();
  if (!ability.usable) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kSandboxUnavailable,
                     fmt::format("builds run in a sandbox only, and this host cannot make one: {}",
                                 ability.reason));
  }
  sandbox_usable_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::string> Builds::Impl::KeyOf(const BuildRequest& request,
                                                const source::SourceRecord& source) const {
  KDBG_ASSIGN_OR_RETURN(const Toolchain toolchain, FindToolchainFor(request));
  return ActionKey(request, source.tree, toolchain);
}

absl::StatusOr<std::optional<BuildRecord>> Builds::Impl::FindSame(
    std::string_view owner, const BuildRequest& request) const {
  KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source, parts_.sources.Get(request.source_id));
  KDBG_ASSIGN_OR_RETURN(const std::string key, KeyOf(request, source));
  auto newest = table_.FindNewest(owner, key);
  if (absl::IsNotFound(newest.status())) return std::nullopt;
  KDBG_RETURN_IF_ERROR(newest.status());
  BuildRecord build = Current(*std::move(newest));
  bool counts = !IsFinal(build.state) || build.state == BuildState::kCancelled;
  if (build.failure) counts = !MayPass(*build.failure);
  if (!build.artifact_id.empty()) counts = parts_.artifacts.Get(build.artifact_id).ok();
  if (!counts) return std::nullopt;
  if (!build.artifact_id.empty()) KDBG_RETURN_IF_ERROR(parts_.artifacts.Touch(build.artifact_id));
  return build;
}

absl::StatusOr<BuildRecord> Builds::Impl::Create(std::string_view owner, BuildRequest request) {
  if (!request.request_id.empty()) {
    auto earlier = table_.FindByRequest(owner, request.request_id);
    if (earlier.ok()) return Current(*std::move(earlier));
  }
  KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source, parts_.sources.Get(request.source_id));
  KDBG_RETURN_IF_ERROR(CheckRequest(request, source, parts_.objects));
  if (auto* initramfs = std::get_if<InitramfsRequest>(&request.spec)) {
    KDBG_RETURN_IF_ERROR(
        ResolveInputs({parts_.uploads, table_, parts_.artifacts, parts_.blobs}, *initramfs));
  }
  KDBG_RETURN_IF_ERROR(CheckSandbox());

  BuildRecord record;
  record.id = NewId("b");
  record.owner = std::string(owner);
  KDBG_ASSIGN_OR_RETURN(record.key, KeyOf(request, source));
  record.request = std::move(request);
  record.workspace = WorkspaceName(record, source);
  record.create_time = parts_.clock.Now();
  return Place(std::move(record));
}

absl::StatusOr<BuildRecord> Builds::Impl::Place(BuildRecord record) {
  if (!SkipsCache(record.request)) {
    if (auto answered = AnswerAtOnce(record); answered.ok()) return answered;
    if (auto joined = Join(record); !absl::IsNotFound(joined.status())) return joined;
  }
  return Enqueue(std::move(record));
}

absl::StatusOr<BuildRecord> Builds::Impl::AnswerAtOnce(BuildRecord record) {
  KDBG_ASSIGN_OR_RETURN(const BuildRecord twin,
                        table_.FindByKey(record.owner, record.key, record.request.is_private));
  KDBG_ASSIGN_OR_RETURN(const store::Artifact artifact, parts_.artifacts.Get(twin.artifact_id));
  if (const auto* log = artifact.FindFile(kLogFile)) record.log_size_bytes = log->size_bytes;
  KDBG_RETURN_IF_ERROR(parts_.artifacts.Touch(artifact.id));
  record.state = BuildState::kSucceeded;
  record.artifact_id = twin.artifact_id;
  record.answered_from_store = true;
  record.start_time = record.create_time;
  record.end_time = record.create_time;
  KDBG_RETURN_IF_ERROR(table_.Insert(record));
  AnnounceEnd(record);
  return record;
}

// The log of a work has one name for each of its members, so that each can be deleted by itself.
absl::StatusOr<BuildRecord> Builds::Impl::Join(BuildRecord record) {
  const absl::Status nobody = absl::NotFoundError("nobody makes the same");
  const std::optional<ActiveBuilds::Work> work = active_.FindWork(record);
  if (!work) return nobody;
  std::error_code error;
  std::filesystem::create_hard_link(LogPath(work->eldest), LogPath(record.id), error);
  if (error) return nobody;
  BuildRecord joined = record;
  joined.workspace = work->workspace;
  KDBG_RETURN_IF_ERROR(table_.Insert(joined));
  if (active_.Join(work->id, joined)) {
    Announce(joined);
    return Current(std::move(joined));
  }
  // It has just ended.
  std::filesystem::remove(LogPath(record.id), error);
  KDBG_RETURN_IF_ERROR(table_.Delete(record.id));
  return nobody;
}

absl::StatusOr<BuildRecord> Builds::Impl::Enqueue(BuildRecord record) {
  KDBG_RETURN_IF_ERROR(active_.CheckRoom(PriorityOf(record)));
  // Nobody waits for what is built ahead.
  const bool waited_for = PriorityOf(record) != ActiveBuilds::Priority::kBackground;
  KDBG_RETURN_IF_ERROR(waited_for ? disk_room_.Make() : disk_room_.Check());
  KDBG_RETURN_IF_ERROR(BuildLog::Open(LogPath(record.id), settings_.log_limit_bytes).status());
  KDBG_RETURN_IF_ERROR(table_.Insert(record));
  record.progress.queue_position = active_.Add(record, PriorityOf(record));
  changes_.Notify(record);
  return record;
}

BuildRecord Builds::Impl::Current(BuildRecord stored) const {
  if (std::optional<BuildRecord> active = active_.Find(stored.id)) {
    active->sequence = stored.sequence;
    return *std::move(active);
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
  BuildRecord left;
  if (active_.Leave(id, &left) == ActiveBuilds::Leaving::kLeft) {
    const auto ended = Conclude({std::move(left)}, absl::CancelledError(""), /*cancelled=*/true);
    active_.Forget(id);
    AnnounceEnd(ended.front());
  }
  active_.AwaitEnd(id);
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

void Builds::Impl::OnChange(const std::string& work, const BuildProgress& progress,
                            std::int64_t log_size) {
  for (const BuildRecord& member : active_.Advance(work, progress, log_size)) {
    changes_.Notify(member);
  }
}

void Builds::Impl::Work() {
  while (const auto started = active_.Next(parts_.clock.Now())) {
    std::vector<BuildRecord> ended = Do(*started);
    if (ended.empty() && active_.Requeue(started->work)) {
      for (const BuildRecord& member : started->members) changes_.Notify(Current(member));
      continue;
    }
    if (ended.empty() && active_.WasCancelled(started->work)) {  // while it made room
      ended = Conclude(active_.Close(started->work), absl::CancelledError(), true);
    }
    active_.Remove(started->work);
    // After they have left the list: who is told looks at the database.
    for (const BuildRecord& record : ended) AnnounceEnd(record);
  }
}

std::vector<BuildRecord> Builds::Impl::Do(const ActiveBuilds::Started& started) {
  const std::string& work = started.work;
  absl::Status saved;
  for (const BuildRecord& member : started.members) {
    saved.Update(table_.Update(member));
    changes_.Notify(member);
  }
  BuildJob job(parts_, settings_, table_, started.members.front(),
               {.on_change = [&](const BuildProgress& progress,
                                 std::int64_t size) { OnChange(work, progress, size); },
                .on_log =
                    [&] {
                      for (const auto& member : active_.MembersOf(work))
                        log_changes_.Notify(member);
                    },
                .members = [&] { return active_.Close(work); }},
               started.stop);
  absl::StatusOr<std::vector<BuildRecord>> done =
      saved.ok() ? job.Run() : absl::StatusOr<std::vector<BuildRecord>>(saved);
  const bool cancelled = active_.WasCancelled(work);
  if (!done.ok()) {
    // Those that the end of the daemon interrupts stay RUNNING in the database: the next start
    // queues them again. So do those that made room: they are queued again at once.
    if (!cancelled && started.stop.stop_requested()) return {};
    return Conclude(active_.Close(work), done.status(), cancelled);
  }
  const BuildRecord& eldest = done->front();
  if (!eldest.answered_from_store && eldest.kind() == BuildKind::kKernel) {
    indexer_->Add(eldest.artifact_id);
  }
  return *std::move(done);
}

std::vector<BuildRecord> Builds::Impl::Conclude(std::vector<BuildRecord> members,
                                                const absl::Status& status, bool cancelled) {
  for (BuildRecord& record : members) {
    record.end_time = parts_.clock.Now();
    if (cancelled && absl::IsCancelled(status)) {
      record.state = BuildState::kCancelled;
    } else {
      record.state = BuildState::kFailed;
      record.failure = FailureOf(status);
    }
    if (absl::Status updated = table_.Update(record); !updated.ok()) {
      spdlog::error("builds/{} cannot be recorded: {}", record.id, updated.ToString());
    }
  }
  return members;
}

void Builds::Impl::AnnounceEnd(const BuildRecord& record) {
  spdlog::info("builds/{} of {} {}", record.id, record.owner, ToString(record.state));
  Announce(record);
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

absl::StatusOr<std::optional<BuildRecord>> Builds::FindSame(std::string_view owner,
                                                            const BuildRequest& request) const {
  return impl_->FindSame(owner, request);
}

absl::StatusOr<BuildRecord> Builds::Get(std::string_view id) const { return impl_->Get(id); }

absl::StatusOr<BuildRecord> Builds::FindByName(std::string_view owner,
                                               std::string_view display_name) const {
  KDBG_ASSIGN_OR_RETURN(BuildRecord record, impl_->table().FindByName(owner, display_name));
  return impl_->Current(std::move(record));
}

absl::StatusOr<BuildRecord> Builds::NewestSuccessful(
    std::string_view owner, BuildKind kind, std::optional<Architecture> architecture) const {
  return impl_->table().NewestSuccessful(owner, kind, architecture);
}

absl::StatusOr<std::vector<BuildRecord>> Builds::List(const ListQuery& query) const {
  KDBG_ASSIGN_OR_RETURN(std::vector<BuildRecord> records, impl_->table().List(query));
  for (BuildRecord& record : records) record = impl_->Current(std::move(record));
  return records;
}

BuildNumbers Builds::Count() const { return impl_->Count(); }

absl::StatusOr<BuildRecord> Builds::Cancel(std::string_view id) { return impl_->Cancel(id); }

void Builds::SetHeld(bool held) { impl_->SetHeld(held); }

absl::Status Builds::Delete(std::string_view id) { return impl_->Delete(id); }

Subscription Builds::Subscribe(std::string_view id,
                               std::function<void(const BuildRecord&)> listener) {
  return impl_->changes().Add(
      [id = std::string(id), listener = std::move(listener)](const BuildRecord& record) {
        if (record.id == id) listener(record);
      });
}

Subscription Builds::SubscribeAll(std::function<void(const BuildRecord&)> listener) {
  return impl_->changes().Add(std::move(listener));
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
