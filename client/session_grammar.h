// `kdbgctl session ...` in the grammar, and the options that `debug` has in common with it.
#pragma once

#include "client/commands/session.h"
#include "client/grammar.h"

namespace kdbg::client {

inline constexpr char kSessionHelp[] = "a session's id";

void AddSession(Grammar& grammar);
void AddSessionOptions(CLI::App* command, SessionCreateOptions& options);

}  // namespace kdbg::client
