// kdbgctl: signals, then the command.
#include <stdlib.h>
#include <unistd.h>

#include "client/command_line.h"
#include "client/output/error_report.h"
#include "proto/support/file.h"

int main(int argc, char** argv) {
  using namespace kdbg::client;
  // What is wrong with a connection is said by us, in words a user can act on.
  ::setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  auto parsed = ParseCommandLine(argc, argv);
  if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
  const ParsedCommand& command = std::get<ParsedCommand>(parsed);
  Interrupt interrupt;
  Context context(Output(command.format, command.talk), command.server, interrupt);
  const CommandEnd end = command.run(context);
  if (end.ok()) return *end;
  if (IsInterrupted(end.status())) return kExitInterrupted;
  (void)kdbg::WriteAll(STDERR_FILENO, command.format == Format::kJson ? ErrorDocument(end.status())
                                                                      : ErrorReport(end.status()));
  return ExitCodeFor(end.status());
}
