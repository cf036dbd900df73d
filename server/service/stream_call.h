// What every stream has, whichever way its messages go: the call it is, its place among its
// caller's streams, and its turns.
//
// Enter, call and Leave belong to the turns; the rest is thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/service/call_gate.h"
#include "server/service/turns.h"

namespace kdbg::service {

using Waker = std::function<void()>;

class StreamCall {
 public:
  StreamCall(CallGate& gate, const grpc::CallbackServerContext& context, const RpcRule& rule,
             std::function<Turns::After()> turn);

  // Who calls, and whether one stream more may be had.
  absl::Status Enter();
  bool entered() const { return call_ != nullptr; }
  Call& call() { return *call_; }
  // A conversation was let in and goes on.
  void Begin() { gate_.Begin(*call_); }
  // Gives the place back: what the stream did is over, even while a last message is on its way.
  void FreePlace() { place_ = Place(); }
  // What the client is told of a call that ends with `status`.
  grpc::Status Leave(absl::Status status);

  Waker waker() const { return turns_->Waker(); }
  void Wake() { turns_->Wake(); }
  void Cancel() { turns_->Stop(Turns::StopCause::kCancelled); }
  // A message has left, or could not.
  void Written(bool ok) { ok ? Wake() : Cancel(); }
  // Why it is to end; ok: it is not.
  absl::Status stop_status() const;

 private:
  CallGate& gate_;
  const std::string peer_;
  const RpcRule& rule_;
  std::unique_ptr<Call> call_;
  Place place_;
  const std::shared_ptr<Turns> turns_;
};

}  // namespace kdbg::service
