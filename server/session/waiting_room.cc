#include <fmt/format.h>

#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/base/clock.h"
#include "server/observe/log.h"
#include "server/session/session_table.h"
#include "server/session/sessions_impl.h"
#include "server/state/database.h"

namespace kdbg::session {

Amount Sessions::Impl::AmountOf(const SessionRecord& record) {
  return {
      .sessions = 1, .vcpus = record.request.vcpu_count, .memory_mib = record.request.memory_mib};
}

std::vector<Holding> Sessions::Impl::Held() const {
  absl::MutexLock lock(&mutex_);
  std::vector<Holding> held;
  for (const auto& [id, session] : live_) {
    const SessionRecord record = session->Snapshot();
    if (record.end_time) continue;
    held.push_back({.session = id,
                    .owner = record.owner,
                    .amount = AmountOf(record),
                    .expire_time = record.expire_time});
  }
  return held;
}

absl::StatusOr<SessionRecord> Sessions::Impl::StartOrWait(SessionRecord record, Admitted admitted,
                                                          IfFull if_full) {
  const Amount wanted = AmountOf(record);
  if (const auto never = FindShortage(limits_.quota, {}, record.owner, wanted)) {
    return InvalidField("shape", std::to_string(wanted.memory_mib),
                        fmt::format("{} {} are more than the {} that one user may ever hold here",
                                    never->wanted, never->what, never->limit));
  }
  absl::MutexLock admission(&admission_mutex_);
  const std::vector<Holding> held = Held();
  bool first = false;
  {
    // Whoever waits already is not overtaken, unless they could not start either.
    absl::MutexLock lock(&mutex_);
    line_.Add({.id = record.id, .owner = record.owner, .wanted = wanted});
    first = line_.Next(limits_.quota, held) == record.id;
    if (first || if_full == IfFull::kRefuse || line_.size() > limits_.maximum_waiting) {
      line_.Remove(record.id);
      if_full = IfFull::kRefuse;
    }
  }
  if (first) {
    KDBG_RETURN_IF_ERROR(Start(record, std::move(admitted)));
    return record;
  }
  if (if_full == IfFull::kRefuse) {
    if (const auto shortage = FindShortage(limits_.quota, held, record.owner, wanted)) {
      return ShortageError(*shortage, held, record.owner);
    }
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                     "others wait for room and come first; get in line with --queue");
  }
  record.state = SessionState::kQueued;
  record.expire_time = record.create_time + admitted.ttl;  // until it starts, when it counts anew
  if (absl::Status stored = Store(record); !stored.ok()) {
    absl::MutexLock lock(&mutex_);
    line_.Remove(record.id);
    return stored;
  }
  const std::string id = record.id;
  {
    absl::MutexLock lock(&mutex_);
    waiting_.emplace(id, Waiting{std::move(record), std::move(admitted)});
  }
  TellWaiting();
  return Get(id);
}

absl::Status Sessions::Impl::Store(SessionRecord& record) {
  return parts_.database.Write([&](state::Transaction& transaction) {
    if (record.sequence != 0) return UpdateSession(transaction, record);
    KDBG_RETURN_IF_ERROR(InsertSession(transaction, record));
    return TakePins(transaction, parts_.artifacts, record);
  });
}

absl::StatusOr<SessionPorts> Sessions::Impl::TakePorts(SessionRecord& record) const {
  SessionPorts ports;
  KDBG_ASSIGN_OR_RETURN(ports.gdb, ports_.Take());
  record.gdb_port = ports.gdb->port();
  if (!record.request.network) return ports;
  for (vm::PortForward& forward : record.request.network->forwards) {
    KDBG_ASSIGN_OR_RETURN(const PortRange::Promise promised, ports_.PromiseLoopback());
    forward.host_port = *promised;
    ports.forwards.push_back(promised);
  }
  return ports;
}

absl::Status Sessions::Impl::Start(SessionRecord& record, Admitted admitted) {
  KDBG_ASSIGN_OR_RETURN(SessionPorts ports, TakePorts(record));
  std::optional<MadeGuest> warm;
  if (record.sequence == 0 && !admitted.saved) {  // nobody knows its name yet
    warm = warm_guests_.Take(admitted.guest, admitted.stop);
  }
  if (warm) record.id = warm->guest->spec().id;
  KDBG_RETURN_IF_ERROR(NameGuest(record, &admitted.guest));
  record.state = SessionState::kCreating;
  record.queue_place = 0;
  record.expire_time = parts_.clock.Now() + admitted.ttl;
  record.expire_monotonic = parts_.clock.Monotonic() + admitted.ttl;
  if (absl::Status stored = Store(record); !stored.ok()) {
    if (warm) warm->guest->Destroy().IgnoreError();  // the first failure is the one to tell
    return stored;
  }
  auto session = std::make_shared<LiveSession>(
      parts_, limits_, templates_, warm_guests_, record, std::move(admitted), std::move(ports),
      [this](const SessionRecord& changed) { OnChange(changed); });
  if (warm) session->Assign(*std::move(warm));
  Hold(session, record, LiveSession::Begin::kBoot);
  return absl::OkStatus();
}

void Sessions::Impl::StartWhoCan() {
  bool any = false;
  for (;;) {
    const std::vector<Holding> held = Held();
    std::optional<Waiting> next;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_ || held_) return;
      const auto id = line_.Next(limits_.quota, held);
      if (!id) break;
      line_.Remove(*id);
      next = std::move(waiting_.extract(*id).mapped());
    }
    any = true;
    const absl::Status started = Start(next->record, std::move(next->admitted));
    if (started.ok()) {
      subscribers_.Notify(next->record);
      continue;
    }
    EndWaiting(std::move(next->record), "FAILED",
               SessionFailure{.fault = Fault::kHost,
                              .reason = std::string(ReasonName(Reason::kVmLost)),
                              .message = std::string(started.message()),
                              .excerpt = ""});
  }
  if (any) TellWaiting();
}

void Sessions::Impl::EndWaiting(SessionRecord record, std::string_view reason,
                                std::optional<SessionFailure> failure) {
  record.state = failure ? SessionState::kFailed : SessionState::kEnded;
  record.failure = std::move(failure);
  record.end_reason = std::string(reason);
  record.end_time = parts_.clock.Now();
  const absl::Status stored = parts_.database.Write([&](state::Transaction& transaction) {
    KDBG_RETURN_IF_ERROR(UpdateSession(transaction, record));
    return ReleasePins(transaction, parts_.artifacts, record);
  });
  if (!stored.ok()) spdlog::error("session {}: {}", record.id, stored.ToString());
  if (!record.request.folder_upload.empty()) RemoveFolder(record.id);
  subscribers_.Notify(record);
}

bool Sessions::Impl::DeleteWaiting(std::string_view id) {
  absl::MutexLock admission(&admission_mutex_);
  std::optional<Waiting> gone;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = waiting_.find(id);
    if (found == waiting_.end()) return false;
    line_.Remove(id);
    gone = std::move(found->second);
    waiting_.erase(found);
  }
  EndWaiting(std::move(gone->record), "DELETED", std::nullopt);
  TellWaiting();
  StartWhoCan();  // it may have held up others
  return true;
}

void Sessions::Impl::SetHeld(bool held) {
  templates_.SetHeld(held);
  warm_guests_.SetHeld(held);
  absl::MutexLock admission_lock(&admission_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    held_ = held;
  }
  StartWhoCan();
}

// Everybody's place may have moved.
void Sessions::Impl::TellWaiting() {
  const std::vector<Holding> held = Held();
  std::vector<SessionRecord> moved;
  {
    absl::MutexLock lock(&mutex_);
    int place = 0;
    for (const std::string& id : line_.Order(held)) {
      ++place;
      const auto found = waiting_.find(id);
      if (found == waiting_.end() || found->second.record.queue_place == place) continue;
      found->second.record.queue_place = place;
      moved.push_back(found->second.record);
    }
  }
  for (const SessionRecord& record : moved) subscribers_.Notify(record);
}

}  // namespace kdbg::session
