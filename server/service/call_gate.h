// What every RPC passes: who calls, whether this server takes calls, whether the role allows it,
// how many streams the caller has, and on the way out the one error codec and the log.
//
// Thread-safe. Enter may block (accounts are looked up), so it runs on an executor.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/access/check.h"
#include "server/access/enrolled_users.h"
#include "server/access/grants.h"
#include "server/access/users.h"
#include "server/base/clock.h"
#include "server/base/subscribers.h"
#include "server/service/byte_pace.h"
#include "server/service/call_budget.h"
#include "server/service/connection_book.h"
#include "server/service/executor.h"
#include "server/service/rpc_table.h"
#include "server/service/turns.h"

namespace kdbg::service {

// Who calls, and from where.
struct Caller {
  access::Principal principal;
  std::string from;     // "unix", "10.0.0.7:41234"
  std::string address;  // whom attempts are counted against: no port
};

// What whoever watches calls is told of one.
struct CallReport {
  // A conversation (gdb, a console) lasts, so it is told twice: once it was let in, and at its end.
  enum class Part { kWhole, kBeginning, kEnd };

  const RpcRule& rule;
  const Caller& caller;  // whose user is empty when nobody knows who it was
  const absl::Status& status;
  absl::Duration took;
  bool is_stream = false;  // then its caller decided how long it took
  Part part = Part::kWhole;
  std::vector<std::string> resources = {};  // what it was about: "builds/b-7"
  std::string request_id = {};              // as its caller gave it
};

// One call in progress. Only the gate makes them.
class Call {
 public:
  const RpcRule& rule() const { return *rule_; }
  const access::Principal& principal() const { return caller_.principal; }
  const Caller& caller() const { return caller_; }
  const std::string& user() const { return caller_.principal.user; }

  // May the caller do what this RPC does to `resource`? A call that has not asked cannot succeed.
  absl::Status Check(const access::Resource& resource);
  // The same for the collection the RPC is about.
  absl::Status CheckCollection();
  // For what the RPC does beside: a build uses a source. Does not count as having asked.
  absl::Status CheckAlso(access::Verb verb, const access::Resource& resource) const;
  // For deletes of what is not there: the wish is fulfilled, and nothing was asked for.
  absl::Status CheckGone();
  // For who reads later what was done: what came of it, or what it was about beside what it
  // checked; and what its caller calls it.
  void Concerns(std::string resource) { resources_.push_back(std::move(resource)); }
  void IsRequest(std::string id) { request_id_ = std::move(id); }
  // Not an error: whether the caller may see it.
  bool MaySee(const access::Resource& resource) const;

 private:
  friend class CallGate;
  Call(const RpcRule& rule, Caller caller, const access::Grants& grants, absl::Duration begin)
      : rule_(&rule), caller_(std::move(caller)), grants_(&grants), begin_(begin) {}

  // With what its owner granted the caller.
  access::Resource AsMet(access::Resource resource) const;

  const RpcRule* rule_;
  Caller caller_;
  const access::Grants* grants_;
  absl::Duration begin_;
  bool checked_ = false;
  bool is_stream_ = false;
  bool has_begun_ = false;  // a conversation
  std::vector<std::string> resources_;
  std::string request_id_;
};

struct GateLimits {
  int call_threads = 12;
  int long_call_threads = 2;
  int stream_threads = 6;
  std::size_t max_queued_calls = 512;
  std::size_t max_queued_long_calls = 32;
  int max_streams_per_user = 128;
  int max_streams = 2048;
  CallBudgetLimits budget = {};
  std::int64_t upload_bytes_per_second = 0;  // of one user; 0: as fast as they come
};

// Those who come over TLS.
struct TlsCallers {
  const ConnectionBook& connections;
  const access::EnrolledUsers& users;
};

class CallGate {
 public:
  CallGate(access::Users& users, access::Grants& grants, const Clock& clock,
           const GateLimits& limits, std::optional<TlsCallers> tls = std::nullopt);

  // Before a call takes a place in a queue; quick. RESOURCE_EXHAUSTED (kTooManyCalls) beyond what
  // one caller may have.
  absl::StatusOr<Place> Admit(const RpcRule& rule, const std::string& peer);
  absl::Status AdmitStream(const RpcRule& rule, const std::string& peer);

  // UNAUTHENTICATED without an identity, UNAVAILABLE (kDraining), PERMISSION_DENIED for the role.
  absl::StatusOr<Call> Enter(const RpcRule& rule, const std::string& peer);
  // A conversation was let in and goes on.
  void Begin(Call& call);
  // The status to answer with: INTERNAL when a call that succeeds never asked for permission.
  absl::Status Leave(const Call& call, absl::Status status);

  // RESOURCE_EXHAUSTED (kTooManyCalls) beyond the limits. `turns` is told when the server drains
  // or the caller becomes nobody.
  absl::StatusOr<Place> EnterStream(Call& call, const std::string& peer,
                                    std::weak_ptr<Turns> turns);

  // What a call is answered with for which the executor has no place; told to whoever watches.
  absl::Status TurnAway(const RpcRule& rule) const;

  // Called on the call's thread. Must not block.
  [[nodiscard]] Subscription Subscribe(std::function<void(const CallReport&)> listener) {
    return reports_.Add(std::move(listener));
  }

  // The streams of callers by certificate who have just become nobody, or somebody else, end with
  // UNAUTHENTICATED.
  void EndStreamsOf(const std::string& user);
  // The same for every caller who has another role than when their stream began. May block.
  void CheckStreamsAgain();

  // New calls are refused, streams end with UNAVAILABLE (kDraining): clients come back later.
  void Drain();

  // Nothing new is made until nullopt: creating RPCs answer UNAVAILABLE (kDraining) with the
  // reason.
  void SetClosed(std::optional<std::string> reason);
  std::optional<std::string> closed() const;

  access::Grants& grants() { return grants_; }

  // Whether somebody could come by this name.
  bool CouldBe(const std::string& user) const {
    return users_.CouldBe(user) || (tls_ && tls_->users.Has(user));
  }

  Executor& calls(const RpcRule& rule) {
    return rule.length == CallLength::kLong ? long_calls_ : calls_;
  }
  Executor& streams() { return streams_; }
  BytePace& upload_pace() { return upload_pace_; }

 private:
  struct OpenStream {
    std::string user;
    bool by_certificate = false;
    access::Role role = access::Role::kNone;
    const RpcRule* rule = nullptr;
    std::string peer;
    std::weak_ptr<Turns> turns;
  };
  template <typename Which>
  void EndStreams(Turns::StopCause cause, Which which);
  void Report(const Call& call, const absl::Status& status, CallReport::Part part) const;
  absl::StatusOr<Caller> Identify(const RpcRule& rule, const std::string& peer) const;
  std::optional<TlsConnection> ConnectionOf(const std::string& peer) const;
  std::string FromOf(const std::string& peer) const;
  std::string PayerOf(const std::string& peer) const;
  absl::Status Told(const RpcRule& rule, absl::Status refusal) const;

  access::Users& users_;
  access::Grants& grants_;
  const Clock& clock_;
  const GateLimits limits_;
  const std::optional<TlsCallers> tls_;
  std::atomic<bool> draining_ = false;
  Subscribers<const CallReport&> reports_;
  CallBudget budget_;
  BytePace upload_pace_;
  mutable absl::Mutex mutex_;
  std::optional<std::string> closed_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> streams_by_user_ ABSL_GUARDED_BY(mutex_);
  std::map<std::uint64_t, OpenStream> open_streams_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t next_stream_ ABSL_GUARDED_BY(mutex_) = 1;
  Executor calls_;
  Executor long_calls_;
  Executor streams_;  // last: its threads use the rest
};

absl::Status DrainingError();
absl::Status NoIdentityError();
absl::Status RevokedError();
// For what the contract promises and this server cannot do yet.
absl::Status NotImplemented(const Call& call, std::string_view what);

}  // namespace kdbg::service
