// `kdbgctl debuginfod`: symbols and sources of every kernel that the caller may read, for any gdb.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

// For the path of a URL: whoever does not know it is not answered.
std::string NewUrlToken();

// Prints the URL and serves until it is interrupted.
CommandEnd Debuginfod(Context& context, int port);

}  // namespace kdbg::client
