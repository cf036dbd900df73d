// Whether KVM really works here. /dev/kvm can be there, open and run firmware, and yet never get
// through 64-bit code, so the only proof is a small guest that switches to long mode and reports
// back.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace kdbg::host {

struct KvmProbe {
  bool usable = false;
  std::string reason;  // why not, or how it was found out
};

// Blocks at most about `deadline`, on a thread of its own that is cut off when it takes longer.
KvmProbe ProbeKvm(absl::Duration deadline = absl::Seconds(2));

}  // namespace kdbg::host
