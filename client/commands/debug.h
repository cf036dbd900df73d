// `kdbgctl debug`: from source to breakpoint in one command.
#pragma once

#include <string>
#include <vector>

#include "client/commands/context.h"
#include "client/commands/gdb.h"
#include "client/commands/kernel.h"
#include "client/commands/session.h"

namespace kdbg::client {

struct DebugOptions {
  KernelBuildOptions kernel;  // an empty source: no build, the newest one is taken
  SessionCreateOptions session;
  GdbOptions gdb;  // without a session
  std::vector<std::string> breakpoints;
};

// Builds if asked to, creates a session, becomes gdb on it.
CommandEnd Debug(Context& context, DebugOptions options);

}  // namespace kdbg::client
