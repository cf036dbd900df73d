// One unary call: through the gate, its body on the executor, the answer back. Bodies may block and
// return a status; they never see gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>

#include "absl/status/status.h"
#include "server/service/call_gate.h"

namespace kdbg::service {

using UnaryBody = std::function<absl::Status(Call&)>;

// `body` may use the request and the response until it returns.
grpc::ServerUnaryReactor* RunUnary(CallGate& gate, grpc::CallbackServerContext* context,
                                   const RpcRule& rule, UnaryBody body);

}  // namespace kdbg::service
