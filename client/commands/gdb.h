// `kdbgctl gdb`: gdb on a session with symbols, sources and the kernel's lx- commands.
#pragma once

#include <string>
#include <vector>

#include "client/commands/context.h"
#include "client/commands/gdb_companion.h"

namespace kdbg::client {

struct GdbOptions {
  std::string session;
  std::vector<std::string> arguments;  // for gdb
  std::string source_directory;        // show lines from here instead of from the server
  bool take_over = false;              // from another gdb
  bool trust_scripts = false;          // load lx- scripts of a build that is somebody else's
};

// Does not return when gdb could be started: the process becomes gdb.
CommandEnd Gdb(Context& context, const GdbOptions& options);
CommandEnd GdbOn(Context& context, const v1::Session& session, const GdbOptions& options,
                 GdbCompanion companion);

// For GdbOn; as early as may be.
absl::StatusOr<GdbCompanion> AccompanyGdbOn(Context& context, const v1::Session& session,
                                            const GdbOptions& options);

}  // namespace kdbg::client
