#include "client/commands/debug.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "client/commands/companion.h"
#include "client/commands/session_start.h"
#include "client/output/text.h"
#include "client/terminal/input_pump.h"

namespace kdbg::client {
namespace {

// The user's own arguments come last, so that they see the breakpoints already hit.
std::vector<std::string> GdbArguments(const DebugOptions& options) {
  std::vector<std::string> arguments;
  for (const std::string& symbol : options.breakpoints) {
    arguments.insert(arguments.end(), {"-ex", "break " + symbol});
  }
  if (!options.breakpoints.empty()) arguments.insert(arguments.end(), {"-ex", "continue"});
  arguments.insert(arguments.end(), options.gdb.arguments.begin(), options.gdb.arguments.end());
  return arguments;
}

}  // namespace

CommandEnd Debug(Context& context, DebugOptions options) {
  // From afar that takes about as long as looking through the source does.
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  server->ConnectAhead();
  if (!options.kernel.source.text.empty()) {
    int failed = 0;
    KDBG_ASSIGN_OR_RETURN(const v1::Build build, BuildKernelFor(context, options.kernel, failed));
    if (failed != 0) return failed;
    options.session.kernel = build.name();
  }
  KDBG_ASSIGN_OR_RETURN(v1::Session session, CreateSession(context, options.session));
  KDBG_ASSIGN_OR_RETURN(GdbCompanion companion, AccompanyGdbOn(context, session, options.gdb));
  KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session,
                                            options.keep ? IfInterrupted::kLeaveSession
                                                         : IfInterrupted::kEndSession));
  if (const int exit_code = ReportReadiness(session); exit_code != kExitDone) return exit_code;
  const std::string id = ShortName(session.name());
  const std::string where = session.stopped_at().empty() ? "nowhere" : session.stopped_at();
  context.output().Note(
      options.keep
          ? fmt::format("session {0}, stopped at {1}, yours for {2}: kdbgctl gdb {0} comes back, "
                        "kdbgctl session rm {0} ends it",
                        id, where, Until(session.expire_time()))
          : fmt::format("session {}, stopped at {}, ends with gdb", id, where));
  options.gdb.arguments = GdbArguments(options);
  if (options.keep) return GdbOn(context, session, options.gdb, std::move(companion));
  KDBG_ASSIGN_OR_RETURN(const Companion ender,
                        Companion::Start(server->address(), {"end-session", session.name()}));
  const CommandEnd not_started = GdbOn(context, session, options.gdb, std::move(companion));
  KDBG_RETURN_IF_ERROR(SessionDelete(context, {session.name()}).status());
  return not_started;
}

CommandEnd EndSessionAfterInput(Context& context, const std::string& session) {
  StopSignal never;
  PumpInput(STDIN_FILENO, never, [](std::string_view) { return true; });
  return SessionDelete(context, {session});
}

}  // namespace kdbg::client
