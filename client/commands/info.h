// `kdbgctl info`: what the server is, what it can do, and which of its limits really hold.
#pragma once

#include "client/commands/context.h"

namespace kdbg::client {

CommandEnd Info(Context& context);

}  // namespace kdbg::client
