// The one converter between absl::Status and grpc::Status, both ways, details included. Pure, any
// thread.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace kdbg {

// Every failure leaves with exactly one ErrorInfo (REASON_UNSPECIFIED when the status came
// without). Text and metadata are cut so that the trailers stay below HTTP/2's customary 8 KiB:
// beyond it, a client would see a broken stream instead of the error.
grpc::Status ToGrpcStatus(const absl::Status& status);

// A status that gRPC itself made ("connection refused") comes without a reason: see GetErrorDetail.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace kdbg
