#include "server/host/sandbox.h"

namespace kdbg::host {

std::string_view EndCauseName(EndCause cause) {
  switch (cause) {
    case EndCause::kExited:
      return "exited";
    case EndCause::kCancelled:
      return "cancelled";
    case EndCause::kTimedOut:
      return "timed out";
    case EndCause::kOutOfMemory:
      return "out of memory";
    case EndCause::kTooManyProcesses:
      return "too many processes";
    case EndCause::kNotStarted:
      return "not started";
    case EndCause::kRunnerLost:
      return "runner lost";
  }
  return "unknown";
}

}  // namespace kdbg::host
