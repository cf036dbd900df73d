// What is behind Sessions: the sessions in memory, who waits for room, and the leases. Private to
// this folder; its parts are in sessions.cc (requests), waiting_room.cc (starting and waiting) and
// take_over.cc (after a restart).
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/session/admission.h"
#include "server/session/lease_keeper.h"
#include "server/session/live_session.h"
#include "server/session/port_range.h"
#include "server/session/quota.h"
#include "server/session/session_parts.h"
#include "server/session/sessions.h"
#include "server/session/template_pool.h"
#include "server/session/waiting_line.h"
#include "server/session/warm_pool.h"

namespace kdbg::session {

inline constexpr std::string_view kIdPrefix = "vm";

class Sessions::Impl {
 public:
  Impl(const Parts& parts, const SessionLimits& limits);
  ~Impl();

  // Goes on with what the last daemon left, in whatever step it was when it ended.
  absl::Status TakeOver();

  absl::StatusOr<SessionRecord> Create(std::string_view owner, const SessionRequest& request,
                                       IfFull if_full);
  absl::StatusOr<SessionRecord> Get(std::string_view id) const;
  std::vector<SessionRecord> List(const ListQuery& query) const;
  absl::Status Delete(std::string_view id);
  absl::StatusOr<SessionRecord> Renew(std::string_view id, std::optional<absl::Duration> ttl);
  absl::StatusOr<SessionRecord> Share(std::string_view id, const SessionShare& share);

  void SetHeld(bool held);
  void RolesChanged();

  // save.cc
  absl::StatusOr<store::Artifact> Save(std::string_view id, std::string_view caller);
  absl::StatusOr<SessionRecord> Restore(std::string_view owner, const RestoreRequest& request,
                                        IfFull if_full);

  // The session while it has a guest; FAILED_PRECONDITION or NOT_FOUND otherwise.
  absl::StatusOr<std::shared_ptr<LiveSession>> Live(std::string_view id) const;

  Subscription Subscribe(std::string_view id, Listener listener);
  Subscription SubscribeAll(Listener listener) { return subscribers_.Add(std::move(listener)); }
  int active() const;
  std::map<SessionState, int> CountByState() const;
  const Parts& parts() const { return parts_; }
  const SessionLimits& limits() const { return limits_; }
  const TemplatePool& templates() const { return templates_; }
  const WarmPool& warm_guests() const { return warm_guests_; }

 private:
  struct Waiting {
    SessionRecord record;
    Admitted admitted;
  };
  static Amount AmountOf(const SessionRecord& record);

  absl::StatusOr<Admitted> AdmitRequest(const SessionRequest& request) const;
  absl::Status AdmitSaved(Admitted* admitted) const;  // save.cc
  // Whose the guest is, where it lives and which ports it has; what it is made of is Admit's.
  absl::Status NameGuest(const SessionRecord& record, guest::GuestSpec* guest) const;
  // The request's folder, into the guest's own; and that of a guest that never was, away again.
  absl::Status Unpack(const SessionRequest& request, const guest::GuestSpec& guest) const;
  void RemoveFolder(const std::string& id) const;
  void Hold(const std::shared_ptr<LiveSession>& session, const SessionRecord& record,
            LiveSession::Begin begin);
  std::optional<SessionRecord> InMemory(std::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnChange(const SessionRecord& record);
  void OnLeaseEnding(const std::string& id);
  void OnLeaseEnd(const std::string& id);
  // How much longer the lease may become by use; zero when it is not used.
  absl::Duration MoreByUse(const LiveSession& session) const;

  // waiting_room.cc
  absl::StatusOr<SessionRecord> StartOrWait(SessionRecord record, Admitted admitted,
                                            IfFull if_full);
  absl::Status Start(SessionRecord& record, Admitted admitted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(admission_mutex_);
  // A gdb port, and one for each forward of its network; they are in the record then.
  absl::StatusOr<SessionPorts> TakePorts(SessionRecord& record) const;
  absl::Status Store(SessionRecord& record);
  void StartWhoCan() ABSL_EXCLUSIVE_LOCKS_REQUIRED(admission_mutex_);
  void EndWaiting(SessionRecord record, std::string_view reason,
                  std::optional<SessionFailure> failure);
  // False when it does not wait (any more).
  bool DeleteWaiting(std::string_view id);
  std::vector<Holding> Held() const;
  void TellWaiting();

  // take_over.cc
  void TakeOver(SessionRecord record);
  void WaitAgain(SessionRecord record);
  // What its network promises to the outside.
  std::vector<PortRange::Promise> KeepForwards(const SessionRecord& record) const;
  // The port it had, or another if something else has that now.
  absl::StatusOr<gdb::ReservedPort> KeepPort(SessionRecord* record) const;
  void RemoveStrays(const std::set<std::string>& known);

  const Parts parts_;
  const SessionLimits limits_;
  const PortRange ports_;
  Subscribers<const SessionRecord&> subscribers_;
  // Held while somebody is let in, so that two cannot take the same room.
  absl::Mutex admission_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  TemplatePool templates_;
  WarmPool warm_guests_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, std::shared_ptr<LiveSession>, std::less<>> live_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> ended_ ABSL_GUARDED_BY(mutex_);  // of live_, oldest first
  std::map<std::string, Waiting, std::less<>> waiting_ ABSL_GUARDED_BY(mutex_);
  WaitingLine line_ ABSL_GUARDED_BY(mutex_);
  LeaseKeeper leases_;  // last: its thread uses the others
};

}  // namespace kdbg::session
