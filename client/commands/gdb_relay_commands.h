// `kdbgctl gdb-pipe` and `kdbgctl gdb-forward`: gdb's protocol for `target remote |` and for
// programs that want a port.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

CommandEnd GdbPipe(Context& context, const std::string& session, bool take_over);

// `listen` is [HOST]:PORT; the host is 127.0.0.1 when left out. Serves one gdb after another until
// interrupted.
CommandEnd GdbForward(Context& context, const std::string& session, const std::string& listen);

}  // namespace kdbg::client
