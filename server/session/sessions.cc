#include "server/session/sessions.h"
#include "server/session/dump.h"

#include <fmt/format.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/clock.h"
#include "server/base/disk_error.h"
#include "server/base/ids.h"
#include "server/observe/log.h"
#include "server/session/disk_images.h"
#include "server/session/session_table.h"
#include "server/session/sessions_impl.h"
#include "server/session/shared_folder.h"
#include "server/source/upload_store.h"

namespace kdbg::session {
namespace {

// So many sessions that have ended keep their console in memory (an open file), for who asks why.
constexpr std::size_t kRecentlyEnded = 16;
// A template boots when nobody else wants the processor.
constexpr int kIdleSlowness = 4;

absl::Status NotLive(const SessionRecord& record) {
  const std::string state(ToString(record.state));
  return MakeError(
      absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
      record.state == SessionState::kQueued
          ? fmt::format("sessions/{} still waits for room and has no guest yet", record.id)
          : fmt::format("sessions/{} has ended ({})", record.id, record.end_reason),
      {{"resource", ResourceName(kSessions, record.id)}, {"state", state}});
}

}  // namespace

Sessions::Impl::Impl(const Parts& parts, const SessionLimits& limits)
    : parts_(parts),
      limits_(limits),
      ports_(limits.gdb_host, limits.first_port, limits.last_port),
      templates_(parts.guest_host, {.directory = parts.templates_directory,
                                    .guests_directory = parts.guests_directory,
                                    .memory_mib = limits.template_memory_mib,
                                    .boot_timeout = kIdleSlowness * limits.boot_timeout}),
      warm_guests_(
          templates_, parts.guest_host,
          {.guests_directory = parts.guests_directory, .memory_mib = limits.warm_memory_mib}),
      leases_(
          parts.clock, [this](const std::string& id) { OnLeaseEnding(id); },
          [this](const std::string& id) { OnLeaseEnd(id); }) {}

Sessions::Impl::~Impl() {
  std::map<std::string, std::shared_ptr<LiveSession>, std::less<>> live;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    live.swap(live_);
  }
  for (const auto& [id, session] : live) session->Leave();
}

Subscription Sessions::Impl::Subscribe(std::string_view id, Listener listener) {
  return subscribers_.Add(
      [id = std::string(id), listener = std::move(listener)](const SessionRecord& record) {
        if (record.id == id) listener(record);
      });
}

int Sessions::Impl::active() const { return static_cast<int>(Held().size()); }

std::map<SessionState, int> Sessions::Impl::CountByState() const {
  std::map<SessionState, int> counts = {{SessionState::kQueued, 0},  {SessionState::kCreating, 0},
                                        {SessionState::kBooting, 0}, {SessionState::kReady, 0},
                                        {SessionState::kCrashed, 0}, {SessionState::kEnding, 0}};
  absl::MutexLock lock(&mutex_);
  counts[SessionState::kQueued] = static_cast<int>(waiting_.size());
  for (const auto& [id, session] : live_) {
    const SessionState state = session->Snapshot().state;
    if (!IsFinal(state)) ++counts[state];
  }
  return counts;
}

absl::StatusOr<Admitted> Sessions::Impl::AdmitRequest(const SessionRequest& request) const {
  KDBG_ASSIGN_OR_RETURN(const store::Artifact kernel,
                        parts_.artifacts.Get(request.kernel_artifact));
  std::optional<store::Artifact> initramfs;
  if (!request.initramfs_artifact.empty()) {
    KDBG_ASSIGN_OR_RETURN(initramfs, parts_.artifacts.Get(request.initramfs_artifact));
  }
  KDBG_ASSIGN_OR_RETURN(
      Admitted admitted,
      session::Admit(request, kernel, initramfs ? &*initramfs : nullptr, parts_.blobs, limits_,
                     {.kvm_usable = parts_.kvm_usable, .kvm_reason = parts_.kvm_reason}));
  KDBG_RETURN_IF_ERROR(AdmitSaved(&admitted));
  return admitted;
}

absl::StatusOr<SessionRecord> Sessions::Impl::Create(std::string_view owner,
                                                     const SessionRequest& request,
                                                     IfFull if_full) {
  std::optional<SessionRecord> earlier;
  KDBG_RETURN_IF_ERROR(parts_.database.Read([&](state::Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(earlier, FindRequest(transaction, owner, request.request_id));
    return absl::OkStatus();
  }));
  if (earlier) return Get(earlier->id);
  if (!request.disk_image.empty()) {
    KDBG_RETURN_IF_ERROR(DiskImages(limits_.disk_images).Check(request.disk_image));
  }
  KDBG_ASSIGN_OR_RETURN(Admitted admitted, AdmitRequest(request));
  SessionRecord record;
  record.id = NewId(kIdPrefix);
  record.owner = std::string(owner);
  record.request = admitted.request;
  record.gdb_host = limits_.gdb_host;
  record.command_line = admitted.guest.command_line;
  record.accelerator = vm::ToString(admitted.guest.accelerator);
  record.create_time = parts_.clock.Now();
  KDBG_RETURN_IF_ERROR(NameGuest(record, &admitted.guest));
  if (request.folder_upload.empty()) {
    return StartOrWait(std::move(record), std::move(admitted), if_full);
  }
  const std::string id = record.id;
  absl::Cleanup forget = [this, id] { RemoveFolder(id); };
  KDBG_RETURN_IF_ERROR(Unpack(record.request, admitted.guest));
  auto created = StartOrWait(std::move(record), std::move(admitted), if_full);
  if (created.ok()) std::move(forget).Cancel();
  return created;
}

absl::Status Sessions::Impl::Unpack(const SessionRequest& request,
                                    const guest::GuestSpec& guest) const {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd tar, parts_.uploads.OpenComplete(request.folder_upload));
  KDBG_RETURN_IF_ERROR(MakeDirectories(guest.directory, 0711));
  return UnpackFolder(tar, guest.folder, guest.run_as,
                      {.floor_bytes = parts_.copy_room.floor_bytes()});
}

void Sessions::Impl::RemoveFolder(const std::string& id) const {
  const absl::Status removed = RemoveTree(parts_.guests_directory / id);
  if (!removed.ok()) spdlog::warn("session {}: {}", id, removed.ToString());
}

absl::Status Sessions::Impl::NameGuest(const SessionRecord& record, guest::GuestSpec* guest) const {
  guest->id = record.id;
  guest->owner = record.owner;
  guest->directory = parts_.guests_directory / record.id;
  guest->network = record.request.network;
  if (!record.request.disk_image.empty()) {
    guest->disk = DiskImages(limits_.disk_images).Locate(record.request.disk_image);
  }
  if (!record.request.folder_upload.empty()) guest->folder = guest->directory / "folder" / "files";
  guest->devices = record.request.devices;
  KDBG_ASSIGN_OR_RETURN(guest->run_as, parts_.guest_identity(record.owner));
  return absl::OkStatus();
}

void Sessions::Impl::Hold(const std::shared_ptr<LiveSession>& session, const SessionRecord& record,
                          LiveSession::Begin begin) {
  {
    absl::MutexLock lock(&mutex_);
    live_.emplace(record.id, session);
  }
  leases_.Set(record.id, record.expire_monotonic - parts_.clock.Monotonic());
  session->Start(begin);
}

void Sessions::Impl::OnChange(const SessionRecord& record) {
  std::shared_ptr<LiveSession> dropped;  // its thread must not be joined under the lock
  const bool ended = IsFinal(record.state) && record.end_time;
  if (ended) {
    leases_.Remove(record.id);
    absl::MutexLock lock(&mutex_);
    ended_.push_back(record.id);
    if (ended_.size() > kRecentlyEnded) {
      if (const auto oldest = live_.find(ended_.front()); oldest != live_.end()) {
        dropped = std::move(oldest->second);
        live_.erase(oldest);
      }
      ended_.pop_front();
    }
  }
  subscribers_.Notify(record);
  if (!ended) return;
  absl::MutexLock admission(&admission_mutex_);
  StartWhoCan();
}

absl::Duration Sessions::Impl::MoreByUse(const LiveSession& session) const {
  if (!session.in_use()) return absl::ZeroDuration();
  const absl::Duration left =
      limits_.maximum_ttl - (parts_.clock.Now() - session.Snapshot().create_time);
  return std::clamp(left, absl::ZeroDuration(), limits_.default_ttl);
}

void Sessions::Impl::OnLeaseEnding(const std::string& id) {
  const auto session = Live(id);
  if (!session.ok()) return;
  const SessionRecord record = (*session)->Snapshot();
  const bool is_last = record.expire_time - record.create_time >= limits_.maximum_ttl;
  if (is_last || !(*session)->in_use()) (*session)->WarnOfExpiry();
}

void Sessions::Impl::OnLeaseEnd(const std::string& id) {
  const auto session = Live(id);
  if (!session.ok()) return;
  // It may have been renewed while we were told.
  const absl::Duration left = (*session)->Snapshot().expire_monotonic - parts_.clock.Monotonic();
  if (left > absl::ZeroDuration()) return leases_.Set(id, left);
  if (const absl::Duration more = MoreByUse(**session); more > absl::ZeroDuration()) {
    // Before anybody can see the new end, so that it is one by then.
    leases_.Set(id, more);
    if (!(*session)->Renew(more).ok()) leases_.Remove(id);
    return;
  }
  spdlog::info("session {} of {}: its lease ended", id, (*session)->Snapshot().owner);
  (*session)->Expire();
}

absl::StatusOr<std::shared_ptr<LiveSession>> Sessions::Impl::Live(std::string_view id) const {
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = live_.find(id); found != live_.end()) return found->second;
  }
  KDBG_ASSIGN_OR_RETURN(const SessionRecord record, Get(id));
  return NotLive(record);
}

std::optional<SessionRecord> Sessions::Impl::InMemory(std::string_view id) const {
  if (const auto found = live_.find(id); found != live_.end()) return found->second->Snapshot();
  if (const auto found = waiting_.find(id); found != waiting_.end()) return found->second.record;
  return std::nullopt;
}

absl::StatusOr<SessionRecord> Sessions::Impl::Get(std::string_view id) const {
  {
    absl::MutexLock lock(&mutex_);
    if (auto known = InMemory(id)) return *std::move(known);
  }
  absl::StatusOr<SessionRecord> record;
  KDBG_RETURN_IF_ERROR(parts_.database.Read([&](state::Transaction& transaction) {
    record = LoadSession(transaction, id);
    return record.status();
  }));
  return record;
}

std::vector<SessionRecord> Sessions::Impl::List(const ListQuery& query) const {
  std::vector<SessionRecord> records;
  const absl::Status read =
      parts_.database.Read([&](state::Transaction& transaction) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(records, LoadSessions(transaction, query));
        return absl::OkStatus();
      });
  if (!read.ok()) spdlog::error("listing sessions: {}", read.ToString());
  absl::MutexLock lock(&mutex_);
  for (SessionRecord& record : records) {
    if (auto known = InMemory(record.id)) record = *std::move(known);
  }
  return records;
}

absl::Status Sessions::Impl::Delete(std::string_view id) {
  if (DeleteWaiting(id)) return absl::OkStatus();
  const auto session = Live(id);
  if (!session.ok()) {
    return HasReason(session.status(), Reason::kWrongState) ? absl::OkStatus() : session.status();
  }
  (*session)->End("DELETED");
  return absl::OkStatus();
}

absl::StatusOr<SessionRecord> Sessions::Impl::Renew(std::string_view id,
                                                    std::optional<absl::Duration> ttl) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, Live(id));
  const absl::Duration wanted = ttl.value_or(limits_.default_ttl);
  const absl::Duration left =
      limits_.maximum_ttl - (parts_.clock.Now() - session->Snapshot().create_time);
  if (wanted <= absl::ZeroDuration() || wanted > left) {
    return InvalidField(
        "ttl", absl::FormatDuration(wanted),
        fmt::format("this lease can be renewed for more than 0 and at most {} "
                    "(the hard maximum is {} from its start)",
                    absl::FormatDuration(left), absl::FormatDuration(limits_.maximum_ttl)));
  }
  // Before anybody can see the new end, so that it is one by then.
  leases_.Set(id, wanted);
  absl::StatusOr<SessionRecord> record = session->Renew(wanted);
  if (!record.ok()) leases_.Remove(id);
  return record;
}

absl::StatusOr<SessionRecord> Sessions::Impl::Share(std::string_view id,
                                                    const SessionShare& share) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, Live(id));
  return session->Share(share);
}

void Sessions::Impl::RolesChanged() {
  std::vector<std::shared_ptr<LiveSession>> all;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, session] : live_) all.push_back(session);
  }
  for (const auto& session : all) session->RolesChanged();
}

// ---- the public face

Sessions::Sessions(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sessions::~Sessions() = default;

absl::StatusOr<std::unique_ptr<Sessions>> Sessions::Open(const Parts& parts,
                                                         const SessionLimits& limits) {
  auto impl = std::make_unique<Impl>(parts, limits);
  KDBG_RETURN_IF_ERROR(impl->TakeOver());
  return std::unique_ptr<Sessions>(new Sessions(std::move(impl)));
}

absl::StatusOr<SessionRecord> Sessions::Create(std::string_view owner,
                                               const SessionRequest& request, IfFull if_full) {
  return impl_->Create(owner, request, if_full);
}

absl::StatusOr<SessionRecord> Sessions::Get(std::string_view id) const { return impl_->Get(id); }

std::vector<SessionRecord> Sessions::List(const ListQuery& query) const {
  return impl_->List(query);
}

absl::Status Sessions::Delete(std::string_view id) { return impl_->Delete(id); }

void Sessions::SetHeld(bool held) { impl_->SetHeld(held); }
void Sessions::RolesChanged() { impl_->RolesChanged(); }

absl::StatusOr<SessionRecord> Sessions::Renew(std::string_view id,
                                              std::optional<absl::Duration> ttl) {
  return impl_->Renew(id, ttl);
}

absl::StatusOr<SessionRecord> Sessions::Pause(std::string_view id) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return session->Pause();
}

absl::StatusOr<SessionRecord> Sessions::Resume(std::string_view id) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return session->Resume();
}

absl::StatusOr<SessionRecord> Sessions::Reset(std::string_view id) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return session->Reset();
}

absl::StatusOr<SessionRecord> Sessions::Share(std::string_view id, const SessionShare& share) {
  return impl_->Share(id, share);
}

absl::StatusOr<store::Artifact> Sessions::Dump(std::string_view id, std::string_view caller,
                                               vm::DumpFormat format) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return DumpMemory(*session, caller, format, impl_->parts());
}

std::shared_ptr<const void> Sessions::Use(std::string_view id) const {
  const auto session = impl_->Live(id);
  return session.ok() ? (*session)->Use() : nullptr;
}

absl::StatusOr<store::Artifact> Sessions::Save(std::string_view id, std::string_view caller) {
  return impl_->Save(id, caller);
}

absl::StatusOr<SessionRecord> Sessions::Restore(std::string_view owner,
                                                const RestoreRequest& request, IfFull if_full) {
  return impl_->Restore(owner, request, if_full);
}

Subscription Sessions::Subscribe(std::string_view id, Listener listener) {
  return impl_->Subscribe(id, std::move(listener));
}

Subscription Sessions::SubscribeAll(Listener listener) const {
  return impl_->SubscribeAll(std::move(listener));
}

absl::StatusOr<std::shared_ptr<gdb::Door>> Sessions::door(std::string_view id) const {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return session->door();
}

absl::StatusOr<std::shared_ptr<guest::ConsoleLog>> Sessions::console(std::string_view id) const {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return session->console();
}

absl::StatusOr<std::shared_ptr<guest::ConsoleInput>> Sessions::console_input(
    std::string_view id) const {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, impl_->Live(id));
  return session->console_input();
}

int Sessions::active() const { return impl_->active(); }

std::map<SessionState, int> Sessions::CountByState() const { return impl_->CountByState(); }

const SessionLimits& Sessions::limits() const { return impl_->limits(); }

const TemplatePool& Sessions::templates() const { return impl_->templates(); }

const WarmPool& Sessions::warm_guests() const { return impl_->warm_guests(); }

}  // namespace kdbg::session
