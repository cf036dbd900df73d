#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/base/clock.h"
#include "server/observe/log.h"
#include "server/session/session_table.h"
#include "server/session/sessions_impl.h"
#include "server/vm/hypervisor.h"

namespace kdbg::session {

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
  if (parts_.fd_store != nullptr) PortRange::GiveUpTheRest(*parts_.fd_store);
  absl::MutexLock admission(&admission_mutex_);
  StartWhoCan();
  TellWaiting();
  return absl::OkStatus();
}

void Sessions::Impl::TakeOver(SessionRecord record) {
  if (record.state == SessionState::kQueued) return WaitAgain(std::move(record));
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

  // What it boots from: needed now or for a reset.
  Admitted admitted;
  if (begin != Begin::kEnd) {
    if (auto again = AdmitRequest(record.request); again.ok()) {
      admitted = *std::move(again);
    } else if (begin == Begin::kBootAgain) {
      give_up(again.status());
    }
  }
  if (absl::Status named = NameGuest(record, &admitted.guest); !named.ok()) give_up(named);
  SessionPorts ports{.gdb = std::nullopt, .forwards = KeepForwards(record)};
  if (begin != Begin::kEnd) {
    if (auto kept = KeepPort(&record); kept.ok()) {
      ports.gdb = *std::move(kept);
    } else {
      give_up(kept.status());
    }
  }
  spdlog::info("session {} of {}, {}: {}", record.id, record.owner, ToString(record.state),
               begin == Begin::kAdopt       ? "adopted"
               : begin == Begin::kBootAgain ? "boots again"
                                            : "is ended");
  auto session = std::make_shared<LiveSession>(
      parts_, limits_, templates_, warm_guests_, record, std::move(admitted), std::move(ports),
      [this](const SessionRecord& changed) { OnChange(changed); });
  if (begin == Begin::kEnd) session->End(end_reason);
  Hold(session, record, begin);
}

void Sessions::Impl::WaitAgain(SessionRecord record) {
  auto admitted = AdmitRequest(record.request);
  if (admitted.ok()) {
    if (absl::Status named = NameGuest(record, &admitted->guest); !named.ok()) admitted = named;
  }
  if (!admitted.ok()) {
    return EndWaiting(std::move(record), "FAILED",
                      SessionFailure{.fault = Fault::kHost,
                                     .reason = std::string(ReasonName(Reason::kVmLost)),
                                     .message = std::string(admitted.status().message()),
                                     .excerpt = ""});
  }
  absl::MutexLock lock(&mutex_);
  line_.Add({.id = record.id, .owner = record.owner, .wanted = AmountOf(record)});
  const std::string id = record.id;
  waiting_.emplace(id, Waiting{std::move(record), *std::move(admitted)});
}

absl::StatusOr<gdb::ReservedPort> Sessions::Impl::KeepPort(SessionRecord* record) const {
  auto same = PortRange::TakeAgain(record->gdb_host, record->gdb_port, parts_.fd_store);
  if (same.ok()) return same;
  KDBG_ASSIGN_OR_RETURN(gdb::ReservedPort other, ports_.Take());
  spdlog::warn("session {}: its gdb port {} was taken meanwhile; it has {} now", record->id,
               record->gdb_port, other.port());
  record->gdb_port = other.port();
  return other;
}

std::vector<PortRange::Promise> Sessions::Impl::KeepForwards(const SessionRecord& record) const {
  std::vector<PortRange::Promise> kept;
  if (!record.request.network) return kept;
  for (const vm::PortForward& forward : record.request.network->forwards) {
    kept.push_back(ports_.Keep(forward.host_port));
  }
  return kept;
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

}  // namespace kdbg::session
