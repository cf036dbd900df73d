// `kdbgctl drain` and `undrain`: a server that is about to be serviced takes nothing new.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

struct DrainOptions {
  std::string reason;
  bool requeue = false;
  bool wait = false;
};

// With `wait` until no build runs; an interrupt leaves the server draining.
CommandEnd Drain(Context& context, const DrainOptions& options);
CommandEnd Undrain(Context& context);

}  // namespace kdbg::client
