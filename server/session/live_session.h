// One session while it lives: its guest, its gdb door, its port, and the thread that takes it from
// CREATING to its end and then tears it down.
//
// Thread-safe. The record is stored in the same step as it changes; who watches hears of it after
// that.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/gdb/client_policy.h"
#include "server/gdb/gateway.h"
#include "server/gdb/reserved_port.h"
#include "server/guest/guest.h"
#include "server/session/admission.h"
#include "server/session/gdb_admission.h"
#include "server/session/made_guest.h"
#include "server/session/monitor.h"
#include "server/session/port_range.h"
#include "server/session/session_parts.h"
#include "server/session/session_record.h"
#include "server/session/template_pool.h"
#include "server/session/warm_pool.h"

namespace kdbg::session {

class LiveSession final : public gdb::ClientPolicy {
 public:
  using Changed = std::function<void(const SessionRecord&)>;

  // The gdb port may be missing for one that begins with its end. `changed` is called after each
  // change, one call at a time, in their order; it must not change the session.
  LiveSession(const Sessions::Parts& parts, const SessionLimits& limits, TemplatePool& templates,
              WarmPool& warm_guests, SessionRecord record, Admitted admitted, SessionPorts ports,
              Changed changed);
  // Leaves, unless it has ended.
  ~LiveSession() override;

  enum class Begin {
    kBoot,       // a new one
    kBootAgain,  // one that was not ready when the last daemon went; its console goes on
    kAdopt,      // one whose guest runs or waits since the last daemon
    kEnd,        // one whose end the last daemon did not finish
  };
  // Before a Start that boots: it need not, this is its guest.
  void Assign(MadeGuest guest);
  void Start(Begin begin);
  // Lets go of the guest as it is, for the next daemon; gdb is cut off. Returns at once.
  void Leave();

  SessionRecord Snapshot() const;

  // Closes door and port now; the machine goes behind it. Idempotent; the first reason stays.
  void End(std::string_view reason);
  // Its lease has run out: End, after what the owner wants done before.
  void Expire();
  // Its lease is about to.
  void WarnOfExpiry();
  absl::StatusOr<SessionRecord> Renew(absl::Duration ttl);
  absl::StatusOr<SessionRecord> Share(const SessionShare& share);
  // See Sessions.
  void RolesChanged();
  absl::StatusOr<SessionRecord> Pause();
  absl::StatusOr<SessionRecord> Resume();
  // Boots anew, from the session's own thread.
  absl::StatusOr<SessionRecord> Reset();

  // Calls `copy` on the guest while it is halted and nobody lets it go on; one that ran goes on
  // after that.
  //   FAILED_PRECONDITION  kWrongState: neither READY nor CRASHED; kHolderBusy: it runs under gdb
  absl::Status WhileHalted(absl::FunctionRef<absl::Status(guest::Guest&)> copy);

  // Who holds one uses the session, as an attached gdb does.
  std::shared_ptr<const void> Use() const { return uses_; }
  bool in_use() const;

  // FAILED_PRECONDITION (kWrongState) when there is none (any more).
  absl::StatusOr<std::shared_ptr<gdb::Door>> door() const;
  absl::StatusOr<std::shared_ptr<guest::ConsoleLog>> console() const;
  absl::StatusOr<std::shared_ptr<guest::ConsoleInput>> console_input() const;

  // gdb::ClientPolicy, on the gateway's thread.
  absl::Status Admit(const gdb::Attachment& client) override;
  void Attached(const gdb::Attachment& client) override;
  void Detached(const gdb::Attachment& client) override;
  std::optional<std::string> Monitor(std::string_view command) override;

 private:
  // What other threads noticed and the session's own thread is to act on. Later news of one kind
  // replaces earlier.
  struct Notes {
    std::optional<std::string> holder;
    bool run_state_changed = false;
    std::optional<std::string> panicked;
    std::optional<std::string> exited;
    bool reset = false;
    std::optional<MonitorRequest> asked_by_gdb;  // which waits for it
    bool expired = false;
  };
  enum class Keep { kInMemory, kStored };

  void Run(Begin begin);
  // From a template only what has not printed anything yet.
  enum class Templates { kAllowed, kNone };
  absl::Status Boot(Templates templates);
  absl::StatusOr<MadeGuest> TakeGuest(Templates templates);
  absl::Status Adopt();
  // Who wants it anew. gdb, by `monitor reset`, stays.
  enum class AskedBy { kCaller, kGdb };
  absl::Status BeginReset(AskedBy who);
  void StartOver(AskedBy who);
  void ObeyGdb(MonitorRequest request);
  void TellGdb(std::string_view text) const;
  void Hold(std::shared_ptr<guest::Guest> guest);
  // `told` is what a gdb hears that has waited for it.
  absl::Status OpenDoor(std::string_view told);
  // Whoever else has it, nobody comes through it any more. Under no lock: it waits for the
  // gateway's thread, which may be calling us.
  static void CloseDoor(std::shared_ptr<gdb::Door> door);
  void Fail(const absl::Status& status);
  // Acts on notes until the session must end; the reason, nullopt when it is left instead.
  std::optional<std::string> AwaitReason();
  void Act(const Notes& notes);
  void TearDown(std::string_view reason);
  void GiveUpPort() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // standing_orders.cc
  void ObeyOnPanic();
  void ObeyOnExpiry();
  void DumpForOwner();
  void OnGuestEvent(const guest::GuestEvent& event);
  // Changes the record, stores it, tells who watches: in one order, whoever changes it.
  void Update(Keep keep, absl::FunctionRef<void(SessionRecord&)> change);
  void AdmitOnlyThoseOf(const SessionRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(share_mutex_);
  absl::Status NotNow(std::string_view what) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void TellVisit(const gdb::Attachment& client, const absl::Status& admitted) const;
  std::shared_ptr<guest::Guest> ReadyGuest() const;
  absl::StatusOr<std::shared_ptr<guest::Guest>> BeginCopy();
  void FillRunState(SessionRecord& record) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const Sessions::Parts& parts_;
  const SessionLimits& limits_;
  TemplatePool& templates_;
  WarmPool& warm_guests_;
  const Admitted admitted_;
  const Changed changed_;
  GdbAdmission admission_;
  std::stop_source cancel_boot_;

  const std::shared_ptr<const int> uses_ = std::make_shared<int>(0);

  absl::Mutex share_mutex_ ABSL_ACQUIRED_BEFORE(order_mutex_);  // so that the last one counts
  absl::Mutex order_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  SessionRecord record_ ABSL_GUARDED_BY(mutex_);
  Notes notes_ ABSL_GUARDED_BY(mutex_);
  std::string end_reason_ ABSL_GUARDED_BY(mutex_);  // set: it must end
  bool expired_ ABSL_GUARDED_BY(mutex_) = false;    // what is to be done before the end has begun
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool copying_ ABSL_GUARDED_BY(mutex_) = false;                   // see WhileHalted
  std::optional<gdb::ReservedPort> port_ ABSL_GUARDED_BY(mutex_);  // until the end; doors share it
  std::shared_ptr<guest::Guest> guest_ ABSL_GUARDED_BY(mutex_);
  // Of its own thread.
  TemplatePool::CloneMark clone_mark_;
  std::vector<PortRange::Promise> forward_ports_;  // as long as there is a machine
  std::optional<MadeGuest> assigned_;
  std::shared_ptr<gdb::Door> door_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<guest::ConsoleLog> console_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace kdbg::session
