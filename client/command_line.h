// The command line: its grammar, its help and which command it means. All of CLI11 is behind this.
#pragma once

#include <functional>
#include <string>
#include <variant>

#include "client/commands/context.h"

namespace kdbg::client {

struct ParsedCommand {
  Format format = Format::kTable;
  Talk talk = Talk::kNormal;
  std::string server;
  std::function<CommandEnd(Context&)> run;
};

// A command to run, or the exit code when parsing was all there was to do (help, version, a usage
// error already told).
std::variant<ParsedCommand, int> ParseCommandLine(int argc, char** argv);

}  // namespace kdbg::client
