// `kdbgctl console`: the serial console from byte 0, then live; the keyboard goes to the guest.
#pragma once

#include <cstdint>
#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

struct ConsoleOptions {
  std::string session;
  std::int64_t since_bytes = 0;
  bool read_only = false;
  bool no_follow = false;  // what there is, then end
  bool take_over = false;
};

CommandEnd Console(Context& context, const ConsoleOptions& options);

}  // namespace kdbg::client
