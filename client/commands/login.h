// `kdbgctl login`: enrols this machine with a server, by a one-time code.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

struct LoginOptions {
  std::string address;  // HOST:PORT
  std::string code;     // empty: read from standard input
};

CommandEnd Login(Context& context, const LoginOptions& options);

}  // namespace kdbg::client
