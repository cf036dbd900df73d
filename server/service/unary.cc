#include "server/service/unary.h"

#include <chrono>
#include <utility>

#include "proto/contract/status_codec.h"

namespace kdbg::service {
namespace {

class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  UnaryCall(CallGate& gate, grpc::CallbackServerContext* context, const RpcRule& rule,
            UnaryBody body)
      : gate_(gate), context_(context), rule_(rule), body_(std::move(body)) {}

  void Start() {
    absl::StatusOr<Place> place = gate_.Admit(rule_, context_->peer());
    if (!place.ok()) return Finish(ToGrpcStatus(place.status()));
    place_ = *std::move(place);
    if (gate_.calls(rule_).TryRun([this] { Finish(ToGrpcStatus(Run())); })) return;
    Finish(ToGrpcStatus(gate_.TurnAway(rule_)));
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Run() {
    // Nobody waits for the answer any more: what was not begun is not begun.
    if (context_->IsCancelled() || std::chrono::system_clock::now() > context_->deadline()) {
      return absl::CancelledError("the caller went away before its call began");
    }
    absl::StatusOr<Call> call = gate_.Enter(rule_, context_->peer());
    if (!call.ok()) return call.status();
    return gate_.Leave(*call, body_(*call));
  }

  CallGate& gate_;
  grpc::CallbackServerContext* const context_;
  const RpcRule& rule_;
  const UnaryBody body_;
  Place place_;
};

}  // namespace

grpc::ServerUnaryReactor* RunUnary(CallGate& gate, grpc::CallbackServerContext* context,
                                   const RpcRule& rule, UnaryBody body) {
  auto* call = new UnaryCall(gate, context, rule, std::move(body));
  call->Start();
  return call;
}

}  // namespace kdbg::service
