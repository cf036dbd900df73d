// `kdbgctl top`: what goes on at the server, as it goes on.
#pragma once

#include "client/commands/context.h"

namespace kdbg::client {

// One plain shot where standard output is no terminal.
CommandEnd Top(Context& context);

}  // namespace kdbg::client
