// The last step before a command runs: this process joins its control groups, gathers what the
// sandbox may see in a mount namespace of its own, gives up every right it has, and becomes
// bubblewrap.
#pragma once

namespace kdbg::runner {

// Reads a LaunchOrder from kOrderFd. Returns only when it fails, having said why on kStatusFd.
int Launch();

}  // namespace kdbg::runner
