#include "server/vm/hypervisor.h"

namespace kdbg::vm {

std::string_view ToString(Accelerator accelerator) {
  return accelerator == Accelerator::kKvm ? "kvm" : "tcg";
}

std::string_view ToString(DomainState state) {
  switch (state) {
    case DomainState::kPaused:
      return "paused";
    case DomainState::kRunning:
      return "running";
    case DomainState::kCrashed:
      return "crashed";
    case DomainState::kGone:
      break;
  }
  return "gone";
}

}  // namespace kdbg::vm
