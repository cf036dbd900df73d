// AppArmor around what a libvirt driver inside this process starts. libvirt's own AppArmor driver
// is for its daemons: it writes a profile for each domain, which kdbgd has not the right to load,
// and its profile of a domain does not know of the files on QEMU's command line.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace kdbg::vm {

// Whether the kernel has AppArmor at all.
bool HasAppArmor();

// Runs `work`, and what it starts runs under `profile` from its exec on. `work` runs on a thread of
// its own, which has ended on return.
//   FAILED_PRECONDITION  kHypervisorRefused: AppArmor does not know the profile or does not allow
//   it; `work` has not run
absl::Status RunConfined(const std::string& profile, absl::FunctionRef<absl::Status()> work);

}  // namespace kdbg::vm
