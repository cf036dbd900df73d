#include "server/service/call_gate.h"

#include <fmt/format.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/observe/log.h"
#include "server/service/peer_identity.h"

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
    case access::ResourceKind::kUser:
      return "users";
  }
  return "";
}

access::Resource CollectionOf(const RpcRule& rule) {
  access::Resource resource;
  resource.kind = rule.kind;
  resource.name = CollectionName(rule.kind);
  return resource;
}

// On one line, whatever a caller put into it; without the payloads.
std::string Describe(const absl::Status& status) {
  if (status.ok()) return "OK";
  return absl::StatusCodeToString(status.code()) + ": " +
         absl::Utf8SafeCHexEscape(status.message());
}

// Who did what is told by the audit; here is what went wrong, and for whoever looks closely all.
void Log(const Call& call, const absl::Status& status, absl::Duration took) {
  const bool is_bug =
      status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kDataLoss;
  spdlog::log(is_bug ? spdlog::level::err : spdlog::level::debug, "{} by {}: {} ({} ms)",
              call.rule().method, call.user(), Describe(status), absl::ToInt64Milliseconds(took));
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

absl::Status NoIdentityError() {
  return MakeError(absl::StatusCode::kUnauthenticated, Reason::kUnauthenticated,
                   "no identity came with the call: over TCP it takes a certificate (kdbgctl login "
                   "HOST:PORT --code CODE); or connect through the server's own unix socket, or "
                   "through ssh://HOST");
}

absl::Status RevokedError() {
  return MakeError(
      absl::StatusCode::kUnauthenticated, Reason::kUnauthenticated,
      "your access has changed or was revoked: try again, and if that is refused, ask an "
      "admin");
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
  if (resource.name.find('/') != std::string::npos) Concerns(resource.name);
  return access::Check(caller_.principal, rule_->verb, AsMet(resource));
}

access::Resource Call::AsMet(access::Resource resource) const {
  const bool granted = resource.is_private && (grants_->Has(resource.name, user()) ||
                                               grants_->Has(resource.made_by, user()));
  if (granted) resource.shared = access::Sharing::kRead;
  return resource;
}

absl::Status Call::CheckCollection() { return Check(CollectionOf(*rule_)); }

absl::Status Call::CheckAlso(access::Verb verb, const access::Resource& resource) const {
  return access::Check(caller_.principal, verb, AsMet(resource));
}

absl::Status Call::CheckGone() {
  checked_ = true;
  return absl::OkStatus();
}

bool Call::MaySee(const access::Resource& resource) const {
  return access::Check(caller_.principal, access::Verb::kSee, AsMet(resource)).ok();
}

CallGate::CallGate(access::Users& users, access::Grants& grants, const Clock& clock,
                   const GateLimits& limits, std::optional<TlsCallers> tls)
    : users_(users),
      grants_(grants),
      clock_(clock),
      limits_(limits),
      tls_(std::move(tls)),
      budget_(clock, limits.budget),
      upload_pace_(clock, limits.upload_bytes_per_second),
      calls_(limits.call_threads, limits.max_queued_calls),
      long_calls_(limits.long_call_threads, limits.max_queued_long_calls),
      streams_(limits.stream_threads, static_cast<std::size_t>(limits.max_streams)) {}

std::optional<TlsConnection> CallGate::ConnectionOf(const std::string& peer) const {
  const std::optional<std::uint64_t> number = TlsConnectionOfPeer(peer);
  if (!number || !tls_) return std::nullopt;
  return tls_->connections.Find(*number);
}

// For the log.
std::string CallGate::FromOf(const std::string& peer) const {
  const std::optional<TlsConnection> connection = ConnectionOf(peer);
  if (!connection) return peer;
  if (!connection->claim) return connection->from;
  return fmt::format("{} ({})", connection->from, connection->claim->common_name);
}

absl::StatusOr<Caller> CallGate::Identify(const RpcRule& rule, const std::string& peer) const {
  if (const std::optional<uid_t> uid = UidOfPeer(peer)) {
    return Caller{.principal = users_.FromUid(*uid), .from = "unix", .address = "unix"};
  }
  Caller caller;
  if (const std::optional<TlsConnection> connection = ConnectionOf(peer)) {
    caller.from = connection->from;
    caller.address = connection->address;
    if (connection->claim) {
      KDBG_ASSIGN_OR_RETURN(caller.principal, tls_->users.FromCertificate(*connection->claim));
    }
  }
  if (!caller.principal.user.empty() || rule.verb == access::Verb::kEnroll) return caller;
  return NoIdentityError();
}

absl::StatusOr<Call> CallGate::Enter(const RpcRule& rule, const std::string& peer) {
  absl::StatusOr<Caller> caller = Identify(rule, peer);
  if (!caller.ok()) {
    const Caller nobody{.principal = {}, .from = FromOf(peer), .address = ""};
    reports_.Notify({.rule = rule, .caller = nobody, .status = caller.status(), .took = {}});
    return caller.status();
  }
  Call call(rule, *std::move(caller), grants_, clock_.Monotonic());
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
  Report(call, status, call.has_begun_ ? CallReport::Part::kEnd : CallReport::Part::kWhole);
  return status;
}

void CallGate::Begin(Call& call) {
  call.has_begun_ = true;
  Report(call, absl::OkStatus(), CallReport::Part::kBeginning);
}

void CallGate::Report(const Call& call, const absl::Status& status, CallReport::Part part) const {
  reports_.Notify({.rule = call.rule(),
                   .caller = call.caller(),
                   .status = status,
                   .took = clock_.Monotonic() - call.begin_,
                   .is_stream = call.is_stream_,
                   .part = part,
                   .resources = call.resources_,
                   .request_id = call.request_id_});
}

absl::Status CallGate::Told(const RpcRule& rule, absl::Status refusal) const {
  reports_.Notify({.rule = rule, .caller = {}, .status = refusal, .took = {}});
  return refusal;
}

absl::Status CallGate::TurnAway(const RpcRule& rule) const {
  return Told(rule, MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                              "the server has too many calls waiting: try again in a moment", {},
                              absl::Seconds(1)));
}

// Whose budget a call is paid from. Who shows no certificate shares one with their neighbours.
std::string CallGate::PayerOf(const std::string& peer) const {
  if (const std::optional<uid_t> uid = UidOfPeer(peer)) return fmt::format("uid {}", *uid);
  const std::optional<TlsConnection> connection = ConnectionOf(peer);
  if (!connection) return "";
  return connection->claim ? "user " + connection->claim->common_name
                           : "address " + connection->address;
}

absl::StatusOr<Place> CallGate::Admit(const RpcRule& rule, const std::string& peer) {
  absl::StatusOr<Place> place = budget_.Enter(PayerOf(peer), rule.length);
  if (!place.ok()) return Told(rule, place.status());
  return place;
}

absl::Status CallGate::AdmitStream(const RpcRule& rule, const std::string& peer) {
  absl::Status begun = budget_.Begin(PayerOf(peer));
  return begun.ok() ? begun : Told(rule, std::move(begun));
}

absl::StatusOr<Place> CallGate::EnterStream(Call& call, const std::string& peer,
                                            std::weak_ptr<Turns> turns) {
  call.is_stream_ = true;
  absl::MutexLock lock(&mutex_);
  if (draining_) return DrainingError();
  // Who was revoked, or got another role, since Enter: EndStreamsOf either finds the stream in the
  // list, or ran before this.
  if (!call.principal().certificate.empty()) {
    KDBG_ASSIGN_OR_RETURN(const Caller now, Identify(call.rule(), peer));
    if (now.principal.role != call.principal().role) return RevokedError();
  }
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
  open_streams_[id] = {.user = call.user(),
                       .by_certificate = !call.principal().certificate.empty(),
                       .role = call.principal().role,
                       .rule = &call.rule(),
                       .peer = peer,
                       .turns = std::move(turns)};
  return Place([this, id, user = call.user()] {
    absl::MutexLock leave_lock(&mutex_);
    open_streams_.erase(id);
    const auto found = streams_by_user_.find(user);
    if (--found->second == 0) streams_by_user_.erase(found);
  });
}

template <typename Which>
void CallGate::EndStreams(Turns::StopCause cause, Which which) {
  std::vector<std::shared_ptr<Turns>> ended;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, stream] : open_streams_) {
      if (!which(stream)) continue;
      if (auto alive = stream.turns.lock()) ended.push_back(std::move(alive));
    }
  }
  for (const auto& turns : ended) turns->Stop(cause);
}

void CallGate::EndStreamsOf(const std::string& user) {
  EndStreams(Turns::StopCause::kRevoked, [&](const OpenStream& stream) {
    return stream.by_certificate && stream.user == user;
  });
}

void CallGate::CheckStreamsAgain() {
  std::vector<OpenStream> streams;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, stream] : open_streams_) streams.push_back(stream);
  }
  for (const OpenStream& stream : streams) {
    const absl::StatusOr<Caller> now = Identify(*stream.rule, stream.peer);
    if (now.ok() && now->principal.role == stream.role) continue;
    if (const auto turns = stream.turns.lock()) turns->Stop(Turns::StopCause::kRevoked);
  }
}

void CallGate::Drain() {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
  }
  EndStreams(Turns::StopCause::kDraining, [](const OpenStream&) { return true; });
}

}  // namespace kdbg::service
