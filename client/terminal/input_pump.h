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

// Becomes readable when the window has changed its size, while one lives. One at a time.
class ResizeSignal {
 public:
  ResizeSignal();
  ~ResizeSignal();
  ResizeSignal(const ResizeSignal&) = delete;
  ResizeSignal& operator=(const ResizeSignal&) = delete;
  int fd() const { return fd_.get(); }
  void Clear() const;

 private:
  UniqueFd fd_;
};

enum class PumpEnd { kEndOfInput, kStopped, kConsumerDone };

// Another thing to wait for beside input.
struct AlsoWatch {
  int fd = -1;
  std::function<bool()> readable = {};
};

// Blocks. `consume` and `also.readable` answer whether to go on.
PumpEnd PumpInput(int fd, const StopSignal& stop,
                  const std::function<bool(std::string_view)>& consume, const AlsoWatch& also = {});

}  // namespace kdbg::client
