#include "server/service/call_gate.h"

#include <fmt/format.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "proto/contract/error.h"
#include "server/observe/log.h"
#include "server/service/peer_identity.h"
#include "server/service/turns.h"

namespace kdbg::service {
namespace {

std::string_view CollectionName(access::ResourceKind kind) {
  switch (kind) {
    case access::ResourceKind::kServer:
      return "this server";
    case access::ResourceKind::kUpload:
      return "uploads";
    case access::ResourceKind::kSource:
      return "sources";
    case access::ResourceKind::kBuild:
      return "builds";
    case access::ResourceKind::kArtifact:
      return "artifacts";
    case access::ResourceKind::kSession:
      return "sessions";
  }
  return "";
}

access::Resource CollectionOf(const RpcRule& rule) {
  access::Resource resource;
  resource.kind = rule.kind;
  resource.name = CollectionName(rule.kind);
  return resource;
}

bool ChangesSomething(access::Verb verb) {
  return verb != access::Verb::kInform && verb != access::Verb::kList &&
         verb != access::Verb::kSee && verb != access::Verb::kRead;
}

// On one line, whatever a caller put into it; without the payloads.
std::string Describe(const absl::Status& status) {
  if (status.ok()) return "OK";
  return absl::StatusCodeToString(status.code()) + ": " +
         absl::Utf8SafeCHexEscape(status.message());
}

void Log(const Call& call, const absl::Status& status, absl::Duration took) {
  spdlog::level::level_enum level = spdlog::level::debug;
  if (status.code() == absl::StatusCode::kInternal ||
      status.code() == absl::StatusCode::kDataLoss) {
    level = spdlog::level::err;
  } else if (status.code() == absl::StatusCode::kPermissionDenied) {
    level = spdlog::level::warn;
  } else if (ChangesSomething(call.rule().verb)) {
    level = spdlog::level::info;
  }
  spdlog::log(level, "{} by {}: {} ({} ms)", call.rule().method, call.user(), Describe(status),
              absl::ToInt64Milliseconds(took));
}

absl::Status ClosedError(std::string_view reason) {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                   fmt::format("the server takes nothing new{}{}: what is there goes on; try again "
                               "later, or ask an admin",
                               reason.empty() ? "" : ": ", reason),
                   {}, absl::Minutes(5));
}

}  // namespace

absl::Status DrainingError() {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                   "the server is shutting down: try again in a moment", {}, absl::Seconds(5));
}

absl::Status NotImplemented(const Call& call, std::string_view what) {
  return MakeError(absl::StatusCode::kUnimplemented, Reason::kNotImplemented,
                   fmt::format("{} is not implemented in this version of kdbgd", what),
                   {{"method", std::string(call.rule().method)}});
}

void CallGate::SetClosed(std::optional<std::string> reason) {
  absl::MutexLock lock(&mutex_);
  closed_ = std::move(reason);
}

std::optional<std::string> CallGate::closed() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

absl::Status Call::Check(const access::Resource& resource) {
  checked_ = true;
  return access::Check(principal_, rule_->verb, AsMet(resource));
}

access::Resource Call::AsMet(access::Resource resource) const {
  const bool granted = resource.is_private && (grants_->Has(resource.name, principal_.user) ||
                                               grants_->Has(resource.made_by, principal_.user));
  if (granted) resource.shared = access::Sharing::kRead;
  return resource;
}

absl::Status Call::CheckCollection() { return Check(CollectionOf(*rule_)); }

absl::Status Call::CheckAlso(access::Verb verb, const access::Resource& resource) const {
  return access::Check(principal_, verb, AsMet(resource));
}

absl::Status Call::CheckGone() {
  checked_ = true;
  return absl::OkStatus();
}

bool Call::MaySee(const access::Resource& resource) const {
  return access::Check(principal_, access::Verb::kSee, AsMet(resource)).ok();
}

CallGate::CallGate(access::Users& users, access::Grants& grants, const Clock& clock,
                   const GateLimits& limits)
    : users_(users),
      grants_(grants),
      clock_(clock),
      limits_(limits),
      calls_(limits.call_threads, limits.max_queued_calls),
      streams_(limits.stream_threads, static_cast<std::size_t>(limits.max_streams)) {}

absl::StatusOr<Call> CallGate::Enter(const RpcRule& rule, const std::string& peer) {
  const std::optional<uid_t> uid = UidOfPeer(peer);
  access::Principal principal;
  if (uid) {
    principal = users_.FromUid(*uid);
  } else if (rule.verb != access::Verb::kEnroll) {
    spdlog::warn("{}: no identity came with a call from '{}'", rule.method, peer);
    return MakeError(absl::StatusCode::kUnauthenticated, Reason::kUnauthenticated,
                     "no identity came with the call: connect through the server's own unix "
                     "socket, or through ssh://HOST");
  }
  Call call(rule, std::move(principal), grants_, clock_.Monotonic());
  absl::Status status =
      draining_ ? DrainingError()
                : access::CheckRole(call.principal(), rule.verb, CollectionName(rule.kind));
  if (status.ok() && rule.verb == access::Verb::kCreate) {
    if (const std::optional<std::string> reason = closed()) status = ClosedError(*reason);
  }
  if (!status.ok()) return Leave(call, std::move(status));
  return call;
}

absl::Status CallGate::Leave(const Call& call, absl::Status status) {
  if (status.ok() && !call.checked_) {
    status = absl::InternalError(
        fmt::format("{} answered without asking for permission", call.rule().method));
  }
  Log(call, status, clock_.Monotonic() - call.begin_);
  return status;
}

absl::StatusOr<StreamPlace> CallGate::EnterStream(const Call& call, std::weak_ptr<Turns> turns) {
  absl::MutexLock lock(&mutex_);
  if (draining_) return DrainingError();
  int& count = streams_by_user_[call.user()];
  const bool user_full = count >= limits_.max_streams_per_user;
  if (user_full || static_cast<int>(open_streams_.size()) >= limits_.max_streams) {
    const int limit = user_full ? limits_.max_streams_per_user : limits_.max_streams;
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                     fmt::format("{} streams are open {} already, the most there may be: close one",
                                 limit, user_full ? "for " + call.user() : "on this server"),
                     {{"limit", std::to_string(limit)}});
  }
  ++count;
  const std::uint64_t id = next_stream_++;
  open_streams_[id] = std::move(turns);
  return StreamPlace([this, id, user = call.user()] {
    absl::MutexLock leave_lock(&mutex_);
    open_streams_.erase(id);
    const auto found = streams_by_user_.find(user);
    if (--found->second == 0) streams_by_user_.erase(found);
  });
}

void CallGate::Drain() {
  std::vector<std::shared_ptr<Turns>> open;
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    for (const auto& [id, turns] : open_streams_) {
      if (auto alive = turns.lock()) open.push_back(std::move(alive));
    }
  }
  for (const auto& turns : open) turns->Stop(Turns::StopCause::kDraining);
}

}  // namespace kdbg::service
