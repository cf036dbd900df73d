// Cores of guest memory, as QEMU writes them: by physical address, which gdb knows nothing of.
#pragma once

#include "absl/status/status.h"

namespace kdbg::guest {

// Adds to the core in `file`, open for both, where the guest's kernel has its memory, as the page
// tables of its first CPU say. What they hold is the guest's word: it bounds nothing but what gdb
// shows. A core of another architecture, or of a CPU without paging, stays as it is.
//   DATA_LOSS  kDataCorrupt: it is no core of QEMU's
absl::Status AddKernelAddresses(int file);

}  // namespace kdbg::guest
