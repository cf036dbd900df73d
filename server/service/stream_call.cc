#include "server/service/write_stream.h"

namespace kdbg::service {

absl::Status StatusOf(Turns::StopCause cause) {
  if (cause == Turns::StopCause::kDraining) return DrainingError();
  return absl::CancelledError("the caller went away");
}

}  // namespace kdbg::service
