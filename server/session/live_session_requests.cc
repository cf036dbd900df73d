// What callers ask of a session that lives.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/base/clock.h"
#include "server/gdb/stub_link.h"
#include "server/session/live_session.h"

namespace kdbg::session {

absl::StatusOr<SessionRecord> LiveSession::Renew(absl::Duration ttl) {
  bool renewed = false;
  Update(Keep::kStored, [&](SessionRecord& record) {
    absl::MutexLock lock(&mutex_);
    renewed = end_reason_.empty() && !expired_;
    if (!renewed) return;
    record.expires_soon = false;
    record.expire_time = parts_.clock.Now() + ttl;
    record.expire_monotonic = parts_.clock.Monotonic() + ttl;
  });
  absl::MutexLock lock(&mutex_);
  if (!renewed) return NotNow("be renewed");
  return record_;
}

absl::StatusOr<SessionRecord> LiveSession::Share(const SessionShare& share) {
  absl::MutexLock one_at_a_time(&share_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    if (!end_reason_.empty()) return NotNow("be shared");
  }
  Update(Keep::kStored, [&](SessionRecord& record) {
    std::erase_if(record.shares, [&](const auto& old) { return old.user == share.user; });
    if (share.access != SessionShare::Access::kNone) record.shares.push_back(share);
  });
  const SessionRecord record = Snapshot();
  AdmitOnlyThoseOf(record);
  return record;
}

void LiveSession::RolesChanged() {
  absl::MutexLock one_at_a_time(&share_mutex_);
  AdmitOnlyThoseOf(Snapshot());
}

void LiveSession::AdmitOnlyThoseOf(const SessionRecord& record) {
  admission_.Know(record);
  if (const auto entrance = door(); entrance.ok()) (*entrance)->AskAgain();
}

std::shared_ptr<guest::Guest> LiveSession::ReadyGuest() const {
  absl::MutexLock lock(&mutex_);
  return record_.state == SessionState::kReady && record_.gdb_holder.empty() && !copying_ ? guest_
                                                                                          : nullptr;
}

absl::StatusOr<SessionRecord> LiveSession::Pause() {
  const std::shared_ptr<guest::Guest> guest = ReadyGuest();
  if (guest == nullptr) {
    absl::MutexLock lock(&mutex_);
    return NotNow("be paused");
  }
  if (guest->stub_link()->running()) KDBG_RETURN_IF_ERROR(guest->stub_link()->Interrupt().status());
  Update(Keep::kInMemory, [](SessionRecord&) {});
  return Snapshot();
}

absl::StatusOr<SessionRecord> LiveSession::Resume() {
  const std::shared_ptr<guest::Guest> guest = ReadyGuest();
  if (guest == nullptr) {
    absl::MutexLock lock(&mutex_);
    return NotNow("be resumed");
  }
  if (!guest->stub_link()->running()) KDBG_RETURN_IF_ERROR(guest->stub_link()->Continue());
  Update(Keep::kInMemory, [](SessionRecord&) {});
  return Snapshot();
}

absl::Status LiveSession::BeginReset(AskedBy who) {
  if (admitted_.guest.kernel_image.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     "what this session was booted from cannot be booted any more: create another");
  }
  bool accepted = false;
  Update(Keep::kStored, [&](SessionRecord& record) {
    accepted = (record.state == SessionState::kReady || record.state == SessionState::kCrashed) &&
               (who == AskedBy::kGdb || record.gdb_holder.empty());
    absl::MutexLock lock(&mutex_);
    accepted = accepted && !copying_ && !expired_;
    if (!accepted) return;
    record.state = SessionState::kBooting;
    record.failure.reset();
    record.stopped_at.clear();
    record.ready_time.reset();  // a daemon that goes before it is ready boots it again
  });
  absl::MutexLock lock(&mutex_);
  return accepted ? absl::OkStatus() : NotNow("be reset");
}

absl::StatusOr<SessionRecord> LiveSession::Reset() {
  KDBG_RETURN_IF_ERROR(BeginReset(AskedBy::kCaller));
  absl::MutexLock lock(&mutex_);
  notes_.reset = true;
  return record_;
}

void LiveSession::ObeyGdb(MonitorRequest request) {
  if (request == MonitorRequest::kPause) {
    if (const auto open = door(); open.ok()) (*open)->KeepHalted();
    return TellGdb(
        fmt::format("it stays halted when gdb leaves; kdbgctl session resume {} lets it run\n",
                    admitted_.guest.id));
  }
  const absl::Status begun = BeginReset(AskedBy::kGdb);
  if (begun.ok()) return StartOver(AskedBy::kGdb);
  TellGdb(fmt::format("{}\n", std::string(begun.message())));
}

void LiveSession::TellGdb(std::string_view text) const {
  if (const auto open = door(); open.ok()) (*open)->AnswerMonitor(std::string(text));
}

absl::StatusOr<std::shared_ptr<guest::Guest>> LiveSession::BeginCopy() {
  absl::MutexLock lock(&mutex_);
  const bool there =
      record_.state == SessionState::kReady || record_.state == SessionState::kCrashed;
  if (!there || guest_ == nullptr || copying_) return NotNow("be copied");
  // Who has gdb decides when the guest halts; at a halt it may be copied under their eyes.
  if (!record_.gdb_holder.empty() && guest_->stub_link()->running()) return NotNow("be copied");
  copying_ = true;
  return guest_;
}

absl::Status LiveSession::WhileHalted(absl::FunctionRef<absl::Status(guest::Guest&)> copy) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<guest::Guest> guest, BeginCopy());
  const bool ran = guest->stub_link()->running();
  absl::Status done = ran ? guest->stub_link()->Interrupt().status() : absl::OkStatus();
  if (done.ok()) done = copy(*guest);
  const absl::Status goes_on =
      ran && !guest->stub_link()->running() ? guest->stub_link()->Continue() : absl::OkStatus();
  {
    absl::MutexLock lock(&mutex_);
    copying_ = false;
  }
  Update(Keep::kInMemory, [](SessionRecord&) {});
  KDBG_RETURN_IF_ERROR(done);
  return goes_on;
}

absl::Status LiveSession::NotNow(std::string_view what) const {
  const std::string state(ToString(record_.state));
  if (expired_ && end_reason_.empty()) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
        fmt::format("sessions/{} cannot {}: its lease has run out, and it ends when its "
                    "memory has been dumped",
                    record_.id, what),
        {{"resource", fmt::format("sessions/{}", record_.id)}, {"state", state}});
  }
  if (copying_) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
        fmt::format("sessions/{} cannot {}: its memory is being copied; try again in a moment",
                    record_.id, what),
        {{"resource", fmt::format("sessions/{}", record_.id)}, {"state", state}});
  }
  if (!record_.gdb_holder.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                     fmt::format("sessions/{} cannot {}: gdb ({}) is attached and decides whether "
                                 "the guest runs{}",
                                 record_.id, what, record_.gdb_holder,
                                 what == "be reset" ? "; say `monitor reset` there" : ""),
                     {{"holder", record_.gdb_holder}});
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   fmt::format("sessions/{} is {} and cannot {}", record_.id, state, what),
                   {{"resource", fmt::format("sessions/{}", record_.id)}, {"state", state}});
}

}  // namespace kdbg::session
