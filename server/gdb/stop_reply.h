// Why the guest's CPUs halted, as the stub tells it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kdbg::gdb {

struct StopReply {
  enum class Kind {
    kSignal,  // halted and debuggable
    kExited,  // QEMU has ended or is about to
  };
  Kind kind = Kind::kSignal;
  int signal = 0;  // 5 after a breakpoint or a step, 2 after an interrupt or a pause from elsewhere
  std::string thread;  // "01": QEMU counts CPUs from 1; empty when not told
  std::string packet;  // as received
};

// nullopt when `packet` is no stop reply.
std::optional<StopReply> ParseStopReply(std::string_view packet);

}  // namespace kdbg::gdb
