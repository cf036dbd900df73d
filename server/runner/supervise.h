// One connection from beginning to end: reads the request, runs the command, answers.
#pragma once

#include "server/runner/options.h"

namespace kdbg::runner {

// In a process of its own, with one thread. Returns its exit code.
int Supervise(const Options& options);

}  // namespace kdbg::runner
