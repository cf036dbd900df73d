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
  bool keep = false;  // the session outlives gdb
};

// Builds if asked to, creates a session, becomes gdb on it.
CommandEnd Debug(Context& context, DebugOptions options);

// Hidden command `end-session`: waits for the end of standard input, then ends the session.
CommandEnd EndSessionAfterInput(Context& context, const std::string& session);

}  // namespace kdbg::client
