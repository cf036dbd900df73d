// `kdbgctl gdb` and everything else that leads gdb to a session, in the grammar; and the options
// that `debug` has in common with it.
#pragma once

#include "client/commands/gdb.h"
#include "client/grammar.h"

namespace kdbg::client {

void AddGdb(Grammar& grammar);
void AddGdbOptions(CLI::App* command, GdbOptions& options);

}  // namespace kdbg::client
