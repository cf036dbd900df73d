// Reads a descriptor until it ends or another thread says stop: the input half of console, gdb-pipe
// and dial-stdio.
#pragma once

#include <functional>
#include <string_view>

#include "proto/support/unique_fd.h"

namespace kdbg::client {

// Wakes a poll from any thread, once and for good.
class StopSignal {
 public:
  StopSignal();
  void Set();
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

enum class PumpEnd { kEndOfInput, kStopped, kConsumerDone };

// Blocks. `consume` answers whether to go on.
PumpEnd PumpInput(int fd, const StopSignal& stop,
                  const std::function<bool(std::string_view)>& consume);

}  // namespace kdbg::client
