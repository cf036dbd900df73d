// The runner itself: one thread that accepts connections from the daemon and gives each to a
// supervisor, a child process.
#pragma once

#include "server/runner/options.h"

namespace kdbg::runner {

// Until SIGTERM or the end of the lifeline; then every command has been ended. Returns an exit
// code.
int Serve(Options options);

}  // namespace kdbg::runner
