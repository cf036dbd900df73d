// Whether KVM really works here. /dev/kvm can be there, open and run firmware, and yet emulate
// 64-bit code one instruction at a time, so slowly that a kernel seems to hang: the only proof is a
// small guest that goes into long mode, gets real work done in time, and reports back.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace kdbg::host {

struct KvmProbe {
  bool usable = false;
  std::string reason;  // why not, or how it was found out
};

// Blocks at most about `deadline`, on a thread of its own that is cut off when it takes longer.
KvmProbe ProbeKvm(absl::Duration deadline = absl::Seconds(1));

}  // namespace kdbg::host
