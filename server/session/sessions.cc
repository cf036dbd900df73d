#include "server/session/sessions.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/base/clock.h"
#include "server/base/ids.h"
#include "server/observe/log.h"
#include "server/session/admission.h"
#include "server/session/lease_keeper.h"
#include "server/session/live_session.h"
#include "server/session/port_range.h"
#include "server/session/session_parts.h"
#include "server/session/session_table.h"
#include "server/vm/hypervisor.h"

namespace kdbg::session {
namespace {

// So many sessions that have ended keep their console in memory (an open file), for who asks why.
constexpr std::size_t kRecentlyEnded = 16;

constexpr std::string_view kIdPrefix = "vm";

}  // namespace

class Sessions::Impl {
 public:
  Impl(const Parts& parts, const SessionLimits& limits)
      : parts_(parts),
        limits_(limits),
        ports_(limits.gdb_host, limits.first_port, limits.last_port),
        leases_(parts.clock, [this](const std::string& id) { OnLeaseEnd(id); }) {}

  ~Impl() {
    std::map<std::string, std::shared_ptr<LiveSession>, std::less<>> live;
    {
      absl::MutexLock lock(&mutex_);
      live.swap(live_);
    }
    for (const auto& [id, session] : live) session->Leave();
  }

  absl::Status TakeOver();
  absl::StatusOr<SessionRecord> Create(std::string_view owner, const SessionRequest& request);
  absl::StatusOr<SessionRecord> Get(std::string_view id) const;
  std::vector<SessionRecord> List(const ListQuery& query) const;
  absl::Status Delete(std::string_view id);
  absl::StatusOr<SessionRecord> Renew(std::string_view id, std::optional<absl::Duration> ttl);

  // The session while it is in memory; FAILED_PRECONDITION or NOT_FOUND otherwise.
  absl::StatusOr<std::shared_ptr<LiveSession>> Live(std::string_view id) const;

  Subscription Subscribe(std::string_view id, Listener listener) {
    return subscribers_.Add(
        [id = std::string(id), listener = std::move(listener)](const SessionRecord& record) {
          if (record.id == id) listener(record);
        });
  }

  int active() const {
    absl::MutexLock lock(&mutex_);
    return static_cast<int>(std::count_if(live_.begin(), live_.end(), [](const auto& entry) {
      return !entry.second->Snapshot().end_time;
    }));
  }
  const SessionLimits& limits() const { return limits_; }

 private:
  absl::StatusOr<Admitted> AdmitRequest(const SessionRequest& request) const;
  void TakeOver(SessionRecord record);
  // The port it had, or another if something else has that now.
  absl::StatusOr<gdb::ReservedPort> KeepPort(SessionRecord* record) const;
  absl::Status NameGuest(const SessionRecord& record, guest::GuestSpec* guest) const;
  void RemoveStrays(const std::set<std::string>& known);
  void Hold(const std::shared_ptr<LiveSession>& session, const SessionRecord& record,
            LiveSession::Begin begin);
  void OnChange(const SessionRecord& record);
  void OnLeaseEnd(const std::string& id);

  const Parts parts_;
  const SessionLimits limits_;
  const PortRange ports_;
  Subscribers<const SessionRecord&> subscribers_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<LiveSession>, std::less<>> live_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> ended_ ABSL_GUARDED_BY(mutex_);  // of live_, oldest first
  LeaseKeeper leases_;                                     // last: its thread uses the others
};

// Goes on with what the last daemon left, in whatever step it was when it ended.
absl::Status Sessions::Impl::TakeOver() {
  std::vector<SessionRecord> unfinished;
  KDBG_RETURN_IF_ERROR(parts_.database.Read([&](state::Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(unfinished, LoadUnfinished(transaction));
    return absl::OkStatus();
  }));
  std::set<std::string> known;
  for (const SessionRecord& record : unfinished) known.insert(record.id);
  RemoveStrays(known);
  for (SessionRecord& record : unfinished) TakeOver(std::move(record));
  return absl::OkStatus();
}

void Sessions::Impl::TakeOver(SessionRecord record) {
  using Begin = LiveSession::Begin;
  Begin begin = IsFinal(record.state) || record.state == SessionState::kEnding ? Begin::kEnd
                : record.ready_time || record.state == SessionState::kCrashed  ? Begin::kAdopt
                                                                               : Begin::kBootAgain;
  std::string end_reason = record.end_reason.empty() ? "FAILED" : record.end_reason;
  const auto give_up = [&](const absl::Status& why) {
    spdlog::error("session {} of {} cannot go on: {}", record.id, record.owner, why.ToString());
    record.state = SessionState::kFailed;
    record.failure = SessionFailure{.fault = Fault::kHost,
                                    .reason = std::string(ReasonName(Reason::kVmLost)),
                                    .message = std::string(why.message()),
                                    .excerpt = ""};
    begin = Begin::kEnd;
    end_reason = "FAILED";
  };

  Admitted admitted;
  if (begin == Begin::kBootAgain) {
    if (auto again = AdmitRequest(record.request); again.ok()) {
      admitted = *std::move(again);
    } else {
      give_up(again.status());
    }
  }
  if (absl::Status named = NameGuest(record, &admitted.guest); !named.ok()) give_up(named);
  std::optional<gdb::ReservedPort> port;
  if (begin != Begin::kEnd) {
    if (auto kept = KeepPort(&record); kept.ok()) {
      port = *std::move(kept);
    } else {
      give_up(kept.status());
    }
  }
  spdlog::info("session {} of {}, {}: {}", record.id, record.owner, ToString(record.state),
               begin == Begin::kAdopt       ? "adopted"
               : begin == Begin::kBootAgain ? "boots again"
                                            : "is ended");
  auto session =
      std::make_shared<LiveSession>(parts_, limits_, record, std::move(admitted), std::move(port),
                                    [this](const SessionRecord& changed) { OnChange(changed); });
  if (begin == Begin::kEnd) session->End(end_reason);
  Hold(session, record, begin);
}

absl::StatusOr<Admitted> Sessions::Impl::AdmitRequest(const SessionRequest& request) const {
  KDBG_ASSIGN_OR_RETURN(const store::Artifact kernel,
                        parts_.artifacts.Get(request.kernel_artifact));
  std::optional<store::Artifact> initramfs;
  if (!request.initramfs_artifact.empty()) {
    KDBG_ASSIGN_OR_RETURN(initramfs, parts_.artifacts.Get(request.initramfs_artifact));
  }
  return session::Admit(request, kernel, initramfs ? &*initramfs : nullptr, parts_.blobs, limits_,
                        {.kvm_usable = parts_.kvm_usable, .kvm_reason = parts_.kvm_reason});
}

absl::StatusOr<SessionRecord> Sessions::Impl::Create(std::string_view owner,
                                                     const SessionRequest& request) {
  std::optional<SessionRecord> earlier;
  KDBG_RETURN_IF_ERROR(parts_.database.Read([&](state::Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(earlier, FindRequest(transaction, owner, request.request_id));
    return absl::OkStatus();
  }));
  if (earlier) return Get(earlier->id);
  KDBG_ASSIGN_OR_RETURN(Admitted admitted, AdmitRequest(request));
  if (active() >= limits_.maximum_sessions) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                     fmt::format("all {} sessions of this host are in use; delete one "
                                 "(`kdbgctl session list` shows whose they are)",
                                 limits_.maximum_sessions));
  }
  KDBG_ASSIGN_OR_RETURN(gdb::ReservedPort port, ports_.Take());

  SessionRecord record;
  record.id = NewId(kIdPrefix);
  record.owner = std::string(owner);
  record.request = admitted.request;
  record.gdb_host = limits_.gdb_host;
  record.gdb_port = port.port();
  record.command_line = admitted.guest.command_line;
  record.accelerator = vm::ToString(admitted.guest.accelerator);
  record.create_time = parts_.clock.Now();
  record.expire_time = record.create_time + admitted.ttl;
  record.expire_monotonic = parts_.clock.Monotonic() + admitted.ttl;
  KDBG_RETURN_IF_ERROR(NameGuest(record, &admitted.guest));

  KDBG_RETURN_IF_ERROR(parts_.database.Write([&](state::Transaction& transaction) {
    KDBG_RETURN_IF_ERROR(InsertSession(transaction, record));
    return TakePins(transaction, parts_.artifacts, record);
  }));
  auto session =
      std::make_shared<LiveSession>(parts_, limits_, record, std::move(admitted), std::move(port),
                                    [this](const SessionRecord& changed) { OnChange(changed); });
  Hold(session, record, LiveSession::Begin::kBoot);
  return record;
}

absl::StatusOr<gdb::ReservedPort> Sessions::Impl::KeepPort(SessionRecord* record) const {
  auto same = gdb::ReservedPort::Bind(record->gdb_host, record->gdb_port);
  if (same.ok()) return same;
  KDBG_ASSIGN_OR_RETURN(gdb::ReservedPort other, ports_.Take());
  spdlog::warn("session {}: its gdb port {} was taken meanwhile; it has {} now", record->id,
               record->gdb_port, other.port());
  record->gdb_port = other.port();
  return other;
}

// Whose it is and where it lives; what it is made of is Admit's.
absl::Status Sessions::Impl::NameGuest(const SessionRecord& record, guest::GuestSpec* guest) const {
  guest->id = record.id;
  guest->owner = record.owner;
  guest->directory = parts_.guests_directory / record.id;
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

// Machines of ours and directories that no session has: what a daemon left that was killed between
// two steps, or whose database is gone.
void Sessions::Impl::RemoveStrays(const std::set<std::string>& known) {
  std::set<std::string> strays;
  const auto domains = parts_.guest_host.hypervisor.ListOwn();
  if (!domains.ok()) spdlog::error("listing machines: {}", domains.status().ToString());
  for (const vm::OwnDomain& domain : domains.ok() ? *domains : std::vector<vm::OwnDomain>()) {
    strays.insert(domain.name.substr(vm::kDomainPrefix.size()));
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(parts_.guests_directory, ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kIdPrefix)) strays.insert(name);
  }
  for (const std::string& id : strays) {
    if (known.contains(id)) continue;
    guest::GuestSpec spec;
    spec.id = id;
    spec.directory = parts_.guests_directory / id;
    const absl::Status removed = guest::Guest::Remove(spec, parts_.guest_host);
    spdlog::warn("{} belonged to no session: {}", id,
                 removed.ok() ? "removed" : removed.ToString());
  }
}

void Sessions::Impl::OnChange(const SessionRecord& record) {
  std::shared_ptr<LiveSession> dropped;  // its thread must not be joined under the lock
  if (IsFinal(record.state) && record.end_time) {
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
}

void Sessions::Impl::OnLeaseEnd(const std::string& id) {
  const auto session = Live(id);
  if (!session.ok()) return;
  const SessionRecord record = (*session)->Snapshot();
  // A gdb that is attached counts as use, up to the hard maximum.
  const absl::Duration left = limits_.maximum_ttl - (parts_.clock.Now() - record.create_time);
  if (!record.gdb_holder.empty() && left > absl::ZeroDuration()) {
    const absl::Duration more = std::min(limits_.default_ttl, left);
    if ((*session)->Renew(more).ok()) leases_.Set(id, more);
    return;
  }
  spdlog::info("session {} of {}: its lease ended", id, record.owner);
  (*session)->End("EXPIRED");
}

absl::StatusOr<std::shared_ptr<LiveSession>> Sessions::Impl::Live(std::string_view id) const {
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = live_.find(id); found != live_.end()) return found->second;
  }
  KDBG_ASSIGN_OR_RETURN(const SessionRecord record, Get(id));
  return MakeError(
      absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
      fmt::format("sessions/{} has ended ({})", id, record.end_reason),
      {{"resource", ResourceName(kSessions, id)}, {"state", std::string(ToString(record.state))}});
}

absl::StatusOr<SessionRecord> Sessions::Impl::Get(std::string_view id) const {
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = live_.find(id); found != live_.end()) return found->second->Snapshot();
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
    if (const auto found = live_.find(record.id); found != live_.end()) {
      record = found->second->Snapshot();
    }
  }
  return records;
}

absl::Status Sessions::Impl::Delete(std::string_view id) {
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
  KDBG_ASSIGN_OR_RETURN(SessionRecord record, session->Renew(wanted));
  leases_.Set(id, wanted);
  return record;
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
                                               const SessionRequest& request) {
  return impl_->Create(owner, request);
}

absl::StatusOr<SessionRecord> Sessions::Get(std::string_view id) const { return impl_->Get(id); }

std::vector<SessionRecord> Sessions::List(const ListQuery& query) const {
  return impl_->List(query);
}

absl::Status Sessions::Delete(std::string_view id) { return impl_->Delete(id); }

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

Subscription Sessions::Subscribe(std::string_view id, Listener listener) {
  return impl_->Subscribe(id, std::move(listener));
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

const SessionLimits& Sessions::limits() const { return impl_->limits(); }

}  // namespace kdbg::session
