#include "server/session/live_session.h"

#include <fmt/format.h>

#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/base/clock.h"
#include "server/gdb/stub_link.h"
#include "server/observe/log.h"
#include "server/session/session_table.h"
#include "server/state/database.h"
#include "server/store/artifact_store.h"

namespace kdbg::session {
namespace {

constexpr int kExcerptLines = 20;

Fault FaultOf(const absl::Status& status) {
  if (guest::IsGuestFault(status)) return Fault::kSubject;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
      return Fault::kCaller;
    default:
      return Fault::kHost;
  }
}

// What gdb is told that asked for it.
std::string AfterReset(std::string_view stopped_at) {
  return fmt::format(
      "booted anew: {}\n"
      "A gdb that kdbgctl did not set up believes in what was before until it has continued, or\n"
      "been told: maintenance flush dcache, then maintenance flush register-cache\n",
      stopped_at.empty() ? std::string("it ran, and is halted now")
                         : fmt::format("it stands at {}", stopped_at));
}

}  // namespace

void LiveSession::CloseDoor(std::shared_ptr<gdb::Door> door) {
  if (door != nullptr) door->Close();
}

LiveSession::LiveSession(const Sessions::Parts& parts, const SessionLimits& limits,
                         TemplatePool& templates, WarmPool& warm_guests, SessionRecord record,
                         Admitted admitted, SessionPorts ports, Changed changed)
    : parts_(parts),
      limits_(limits),
      templates_(templates),
      warm_guests_(warm_guests),
      admitted_(std::move(admitted)),
      changed_(std::move(changed)),
      admission_(parts.uid_of, limits.gdb_peers),
      record_(std::move(record)),
      port_(std::move(ports.gdb)),
      forward_ports_(std::move(ports.forwards)) {
  admission_.Know(record_);
  if (port_) PortRange::Hold(*port_);
}

LiveSession::~LiveSession() {
  Leave();
  if (thread_.joinable()) thread_.join();
}

void LiveSession::Assign(MadeGuest guest) { assigned_ = std::move(guest); }

void LiveSession::Start(Begin begin) {
  thread_ = std::thread([this, begin] { Run(begin); });
}

SessionRecord LiveSession::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  SessionRecord record = record_;
  if (console_ != nullptr) record.console_size_bytes = console_->size();
  FillRunState(record);
  return record;
}

// The stub knows at any moment; the hypervisor's events come late and only say when to look.
void LiveSession::FillRunState(SessionRecord& record) const {
  record.run_state = RunState::kUnknown;
  if (guest_ == nullptr || IsFinal(record.state)) return;
  record.run_state = guest_->stub_link()->running() ? RunState::kRunning : RunState::kHalted;
}

// ---- the session's own thread

void LiveSession::Run(Begin begin) {
  absl::Status begun;
  switch (begin) {
    case Begin::kBootAgain:
      begun = guest::Guest::EndMachine(admitted_.guest, parts_.guest_host);
      if (begun.ok()) begun = Boot(Templates::kNone);
      break;
    case Begin::kBoot:
      begun = Boot(Templates::kAllowed);
      break;
    case Begin::kAdopt:
      begun = Adopt();
      break;
    case Begin::kEnd:
      break;
  }
  if (!begun.ok()) Fail(begun);
  if (const auto reason = AwaitReason()) TearDown(*reason);
}

absl::Status LiveSession::Adopt() {
  absl::StatusOr<std::shared_ptr<guest::Guest>> guest =
      guest::Guest::Adopt(admitted_.guest, parts_.guest_host,
                          [this](const guest::GuestEvent& event) { OnGuestEvent(event); });
  if (HasReason(guest.status(), Reason::kVmLost)) {
    End("VM_LOST");
    return absl::OkStatus();
  }
  KDBG_RETURN_IF_ERROR(guest.status());
  clone_mark_ = templates_.MarkClone(Snapshot().template_key);
  Hold(*std::move(guest));
  KDBG_RETURN_IF_ERROR(OpenDoor(""));
  Update(Keep::kStored, [](SessionRecord&) {});  // its port may be another
  return absl::OkStatus();
}

void LiveSession::Hold(std::shared_ptr<guest::Guest> guest) {
  absl::MutexLock lock(&mutex_);
  console_ = guest->console();
  guest_ = std::move(guest);
}

absl::StatusOr<MadeGuest> LiveSession::TakeGuest(Templates templates) {
  const auto listener = [this](const guest::GuestEvent& event) { OnGuestEvent(event); };
  if (assigned_) {
    MadeGuest made = *std::exchange(assigned_, std::nullopt);
    made.guest->Listen(listener);
    return made;
  }
  return MakeGuest(templates == Templates::kAllowed ? &templates_ : nullptr, admitted_,
                   parts_.guest_host, listener);
}

absl::Status LiveSession::Boot(Templates templates) {
  const TemplatePool::Starting starting(templates_, admitted_.guest.owner);
  const absl::Duration start = parts_.clock.Monotonic();
  KDBG_ASSIGN_OR_RETURN(MadeGuest made, TakeGuest(templates));
  Hold(made.guest);
  clone_mark_ = made.mark;
  const absl::Duration created = parts_.clock.Monotonic();
  const auto note_how = [&](SessionRecord& record) {
    record.create_duration = created - start;
    record.origin = made.origin;
    record.template_key = made.template_key;
  };
  // Any other is at its stop point already, and each step that is stored waits for the disk.
  if (made.origin == Origin::kCold) {
    Update(Keep::kStored, [&](SessionRecord& record) {
      note_how(record);
      record.state = SessionState::kBooting;
    });
    KDBG_ASSIGN_OR_RETURN(
        const guest::StopReport report,
        made.guest->RunToStopPoint(admitted_.stop, limits_.boot_timeout, cancel_boot_.get_token()));
    made.stopped_at = report.stopped_at;
  }
  KDBG_RETURN_IF_ERROR(OpenDoor(AfterReset(made.stopped_at)));
  Update(Keep::kStored, [&](SessionRecord& record) {
    note_how(record);
    record.state = SessionState::kReady;
    record.ready_time = parts_.clock.Now();
    record.boot_duration = parts_.clock.Monotonic() - created;
    record.stopped_at = made.stopped_at;
  });
  if (made.origin == Origin::kCloned) warm_guests_.KeepReady(admitted_.guest, admitted_.stop);
  return absl::OkStatus();
}

absl::Status LiveSession::OpenDoor(std::string_view told) {
  absl::StatusOr<gdb::ReservedPort> port;
  std::shared_ptr<gdb::StubLink> stub_link;
  std::shared_ptr<gdb::Door> open;
  {
    absl::MutexLock lock(&mutex_);
    if (!end_reason_.empty() || leaving_) return absl::CancelledError("the session is ending");
    port = port_->Duplicate();
    stub_link = guest_->stub_link();
    open = door_;
  }
  if (open != nullptr) {
    open->AnswerMonitor(std::string(told), std::move(stub_link));
    return absl::OkStatus();
  }
  KDBG_RETURN_IF_ERROR(port.status());
  KDBG_ASSIGN_OR_RETURN(std::shared_ptr<gdb::Door> door,
                        parts_.gateway.Open(*std::move(port), std::move(stub_link), *this));
  {
    absl::MutexLock lock(&mutex_);
    if (end_reason_.empty() && !leaving_) door_.swap(door);
  }
  // Else it goes here, under no lock.
  return door == nullptr ? absl::OkStatus() : absl::CancelledError("the session is ending");
}

void LiveSession::Fail(const absl::Status& status) {
  if (absl::IsCancelled(status)) return;  // it ends by a request, which has its own reason
  SessionFailure failure;
  failure.fault = FaultOf(status);
  failure.message = std::string(status.message());
  const auto detail = GetErrorDetail(status);
  failure.reason = detail ? detail->reason : std::string(ReasonName(Reason::kVmLost));
  std::shared_ptr<guest::ConsoleLog> console;
  {
    absl::MutexLock lock(&mutex_);
    console = console_;
  }
  if (console != nullptr) failure.excerpt = console->LastLines(kExcerptLines);
  const std::string told = fmt::format("not there: {}\n", failure.message);
  // A guest that panicked on its way stays, with a door: that is what people want to look at.
  const bool attachable = HasReason(status, Reason::kGuestPanicked) && OpenDoor(told).ok();
  if (!attachable) TellGdb(told);
  Update(Keep::kStored, [&](SessionRecord& record) {
    record.state = attachable ? SessionState::kCrashed : SessionState::kFailed;
    record.failure = std::move(failure);
    spdlog::warn("session {} of {}: {}", record.id, record.owner, record.failure->message);
  });
  if (!attachable) return End("FAILED");
  if (admitted_.request.on_panic == OnPanic::kDump) DumpForOwner();
}

std::optional<std::string> LiveSession::AwaitReason() {
  for (;;) {
    Notes notes;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return !end_reason_.empty() || leaving_ || notes_.holder || notes_.run_state_changed ||
               notes_.panicked || notes_.exited || notes_.reset || notes_.asked_by_gdb ||
               notes_.expired;
      };
      mutex_.Await(absl::Condition(&something));
      if (!end_reason_.empty()) return end_reason_;
      if (leaving_) return std::nullopt;
      notes = std::exchange(notes_, Notes{});
    }
    Act(notes);
  }
}

void LiveSession::Act(const Notes& notes) {
  if (notes.expired) return ObeyOnExpiry();
  if (notes.reset) {  // what else was noticed is of the machine that goes
    return StartOver(AskedBy::kCaller);
  }
  if (notes.holder || notes.run_state_changed) {
    Update(Keep::kInMemory, [&](SessionRecord& record) {
      if (notes.holder) record.gdb_holder = *notes.holder;
    });
  }
  if (notes.asked_by_gdb) ObeyGdb(*notes.asked_by_gdb);
  if (notes.asked_by_gdb == MonitorRequest::kReset) return;  // likewise
  if (notes.panicked) {
    const bool was_ready = Snapshot().state == SessionState::kReady;
    std::string excerpt = console().ok() ? (*console())->LastLines(kExcerptLines) : std::string();
    Update(Keep::kStored, [&](SessionRecord& record) {
      record.state = SessionState::kCrashed;
      record.failure = SessionFailure{
          .fault = Fault::kSubject,
          .reason = std::string(ReasonName(Reason::kGuestPanicked)),
          .message = "the guest's kernel panicked; attach with gdb to see where",
          .excerpt = std::move(excerpt),
      };
    });
    if (was_ready) ObeyOnPanic();  // else it is what Fail saw
  }
  if (!notes.exited) return;
  std::shared_ptr<guest::Guest> guest;
  {
    absl::MutexLock lock(&mutex_);
    guest = guest_;
  }
  if (guest == nullptr || !guest->HasMachine()) End("GUEST_EXITED");
}

void LiveSession::StartOver(AskedBy who) {
  std::shared_ptr<gdb::Door> door;
  {
    absl::MutexLock lock(&mutex_);
    if (who == AskedBy::kCaller) door = std::exchange(door_, nullptr);
    guest_ = nullptr;
  }
  CloseDoor(std::move(door));
  absl::Status begun = guest::Guest::EndMachine(admitted_.guest, parts_.guest_host);
  clone_mark_ = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    std::optional<std::string> holder = std::move(notes_.holder);
    notes_ = Notes{};
    if (who == AskedBy::kGdb) notes_.holder = std::move(holder);
  }
  if (who == AskedBy::kCaller) {
    Update(Keep::kInMemory, [](SessionRecord& record) { record.gdb_holder.clear(); });
  }
  if (begun.ok()) begun = Boot(Templates::kNone);
  if (!begun.ok()) Fail(begun);
}

void LiveSession::GiveUpPort() {
  if (port_) PortRange::GiveUp(*port_);
  port_.reset();
}

void LiveSession::TearDown(std::string_view reason) {
  std::shared_ptr<guest::Guest> guest;
  std::shared_ptr<guest::ConsoleLog> console;
  {
    absl::MutexLock lock(&mutex_);
    GiveUpPort();
    guest = std::exchange(guest_, nullptr);
    console = console_;
  }
  bool failed = false;
  Update(Keep::kStored, [&](SessionRecord& record) {
    failed = record.state == SessionState::kFailed;
    if (!failed) record.state = SessionState::kEnding;
    record.end_reason = reason;
    record.gdb_holder.clear();
    record.console_size_bytes = console != nullptr ? console->size() : 0;
  });
  if (const absl::Status gone = guest::Guest::Remove(admitted_.guest, parts_.guest_host);
      !gone.ok()) {
    spdlog::error("session {}: its machine could not be removed: {}", admitted_.guest.id,
                  gone.ToString());
  }
  guest.reset();
  clone_mark_ = nullptr;
  forward_ports_.clear();
  Update(Keep::kStored, [&](SessionRecord& record) {
    if (!failed) record.state = SessionState::kEnded;
    record.end_time = parts_.clock.Now();
  });
}

void LiveSession::Update(Keep keep, absl::FunctionRef<void(SessionRecord&)> change) {
  absl::MutexLock order(&order_mutex_);  // so nobody else changes the record meanwhile
  SessionRecord record;
  {
    absl::MutexLock lock(&mutex_);
    record = record_;
  }
  change(record);
  if (keep == Keep::kStored) {
    const absl::Status stored = parts_.database.Write([&](state::Transaction& transaction) {
      KDBG_RETURN_IF_ERROR(UpdateSession(transaction, record));
      if (!record.end_time) return absl::OkStatus();
      return ReleasePins(transaction, parts_.artifacts, record);
    });
    // The session goes on in memory: a full disk must not cost anybody a debugging session.
    if (!stored.ok()) spdlog::error("session {}: {}", record.id, stored.ToString());
  }
  // Seen only once it is stored, so that what a caller has seen survives a crash.
  {
    absl::MutexLock lock(&mutex_);
    record_ = record;
    FillRunState(record);
  }
  changed_(record);
}

// ---- requests

void LiveSession::End(std::string_view reason) {
  std::shared_ptr<gdb::Door> door;
  {
    absl::MutexLock lock(&mutex_);
    if (end_reason_.empty()) end_reason_ = std::string(reason);
    door = std::exchange(door_, nullptr);
    GiveUpPort();
  }
  cancel_boot_.request_stop();
  CloseDoor(std::move(door));
}

void LiveSession::Leave() {
  std::shared_ptr<gdb::Door> door;
  {
    absl::MutexLock lock(&mutex_);
    leaving_ = true;
    door = std::exchange(door_, nullptr);
  }
  cancel_boot_.request_stop();
  if (door != nullptr) door->LeaveAsItIs();
  CloseDoor(std::move(door));
}

absl::StatusOr<std::shared_ptr<gdb::Door>> LiveSession::door() const {
  absl::MutexLock lock(&mutex_);
  if (door_ == nullptr) return NotNow("be debugged");
  return door_;
}

absl::StatusOr<std::shared_ptr<guest::ConsoleLog>> LiveSession::console() const {
  absl::MutexLock lock(&mutex_);
  if (console_ == nullptr) return NotNow("show a console yet");
  return console_;
}

absl::StatusOr<std::shared_ptr<guest::ConsoleInput>> LiveSession::console_input() const {
  std::shared_ptr<guest::Guest> guest;
  {
    absl::MutexLock lock(&mutex_);
    if (guest_ == nullptr) return NotNow("take console input");
    guest = guest_;
  }
  return guest->console_input();
}

// ---- what others notice

void LiveSession::OnGuestEvent(const guest::GuestEvent& event) {
  absl::MutexLock lock(&mutex_);
  switch (event.kind) {
    case guest::GuestEvent::Kind::kPanicked:
      notes_.panicked = event.detail;
      break;
    case guest::GuestEvent::Kind::kExited:
      notes_.exited = event.detail;
      break;
    case guest::GuestEvent::Kind::kPaused:
    case guest::GuestEvent::Kind::kResumed:
      notes_.run_state_changed = true;
      break;
  }
}

absl::Status LiveSession::Admit(const gdb::Attachment& client) {
  if (absl::Status admitted = admission_.Admit(client); !admitted.ok()) {
    TellVisit(client, admitted);
    return admitted;
  }
  absl::MutexLock lock(&mutex_);
  return copying_ ? NotNow("be debugged") : absl::OkStatus();
}

void LiveSession::Attached(const gdb::Attachment& client) {
  TellVisit(client, absl::OkStatus());
  absl::MutexLock lock(&mutex_);
  notes_.holder = client.client;
}

void LiveSession::TellVisit(const gdb::Attachment& client, const absl::Status& admitted) const {
  if (client.origin == gdb::Attachment::Origin::kAuthenticated) return;
  parts_.on_gdb_visit({.session = admitted_.guest.id,
                       .user = admission_.UserOf(client),
                       .from = client.client,
                       .admitted = admitted});
}

void LiveSession::Detached(const gdb::Attachment& /*client*/) {
  absl::MutexLock lock(&mutex_);
  notes_.holder = std::string();
}

std::optional<std::string> LiveSession::Monitor(std::string_view command) {
  if (const auto request = ParseMonitorRequest(command)) {
    absl::MutexLock lock(&mutex_);
    notes_.asked_by_gdb = request;
    return std::nullopt;
  }
  MonitorFacts facts{.record = Snapshot(), .left = {}, .console = nullptr};
  facts.left = facts.record.expire_monotonic - parts_.clock.Monotonic();
  if (const auto log = console(); log.ok()) {
    facts.console = [log = *log](int lines) { return log->LastLines(lines); };
  }
  return AnswerMonitor(command, facts);
}

}  // namespace kdbg::session
