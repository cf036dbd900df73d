// `kdbgctl ide`: a launch configuration for a session in the user's own source tree.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

enum class Ide { kVscode, kEclipse, kClion };

struct IdeOptions {
  Ide ide = Ide::kVscode;
  std::string session;
  std::string source_directory;  // the tree; empty: the one around the working directory
  std::string output;            // where the files go; empty: the tree
  bool trust_scripts = false;    // as of GdbOptions
};

// Fetches symbols and writes one file, which names them. Nothing that a user has written is lost.
CommandEnd WriteIdeLaunch(Context& context, const IdeOptions& options);

}  // namespace kdbg::client
