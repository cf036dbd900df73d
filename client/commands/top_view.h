// What `kdbgctl top` shows of the server, as text. Pure.
#pragma once

#include <string>

#include "client/terminal/raw_terminal.h"
#include "kdbg/v1/server_service.pb.h"

namespace kdbg::client {

// Lines of at most `size.columns`; beyond `size.rows` the last line says how many are left out.
// Builds that run first, then the queue in its order, then sessions, those that expire next first.
std::string DrawTop(const v1::Activity& activity, const std::string& server, TerminalSize size);

}  // namespace kdbg::client
