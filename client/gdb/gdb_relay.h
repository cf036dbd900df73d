// gdb's bytes through the authenticated connection: two descriptors to the AttachGdb stream of a
// session.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/channel/server.h"
#include "client/terminal/input_pump.h"

namespace kdbg::client {

// Blocks until gdb closes `in_fd`, the server ends the stream (its error is returned) or `stop` is
// set. `take_over`: from another gdb, if one is attached.
absl::Status RelayGdb(Server& server, const std::string& session, bool take_over, int in_fd,
                      int out_fd, const StopSignal& stop);

}  // namespace kdbg::client
