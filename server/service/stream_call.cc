#include "server/service/stream_call.h"

#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "proto/support/status_macros.h"

namespace kdbg::service {

StreamCall::StreamCall(CallGate& gate, const grpc::CallbackServerContext& context,
                       const RpcRule& rule, std::function<Turns::After()> turn)
    : gate_(gate),
      peer_(context.peer()),
      rule_(rule),
      turns_(std::make_shared<Turns>(gate.streams(), std::move(turn))) {}

absl::Status StreamCall::Enter() {
  KDBG_RETURN_IF_ERROR(gate_.AdmitStream(rule_, peer_));
  KDBG_ASSIGN_OR_RETURN(Call call, gate_.Enter(rule_, peer_));
  call_ = std::make_unique<Call>(std::move(call));
  KDBG_ASSIGN_OR_RETURN(place_, gate_.EnterStream(*call_, peer_, turns_));
  return absl::OkStatus();
}

grpc::Status StreamCall::Leave(absl::Status status) {
  FreePlace();
  if (call_) status = gate_.Leave(*call_, std::move(status));
  return ToGrpcStatus(status);
}

absl::Status StreamCall::stop_status() const {
  switch (turns_->stop_cause()) {
    case Turns::StopCause::kNone:
      return absl::OkStatus();
    case Turns::StopCause::kDraining:
      return DrainingError();
    case Turns::StopCause::kRevoked:
      return RevokedError();
    case Turns::StopCause::kCancelled:
      break;
  }
  return absl::CancelledError("the caller went away");
}

}  // namespace kdbg::service
