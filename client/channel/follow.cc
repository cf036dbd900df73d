#include "client/channel/follow.h"

namespace kdbg::client {
namespace {
constexpr char kInterruptedUrl[] = "kdbgctl/interrupted";
}

absl::Status InterruptedError() {
  absl::Status status = absl::CancelledError("interrupted");
  status.SetPayload(kInterruptedUrl, absl::Cord("1"));
  return status;
}

bool IsInterrupted(const absl::Status& status) {
  return status.GetPayload(kInterruptedUrl).has_value();
}

}  // namespace kdbg::client
