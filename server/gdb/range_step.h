// gdb's `vCont;r`: step on while the program counter is within a range. QEMU's stub does not know
// it; the gateway steps one instruction at a time, which is still one packet for gdb. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kdbg::gdb {

struct RangeStep {
  std::uint64_t start = 0;
  std::uint64_t end = 0;  // the first address beyond
  std::string packet;     // the same for one instruction, as the stub takes it

  bool Contains(std::uint64_t pc) const { return start <= pc && pc < end; }
};

// nullopt when `payload` is no vCont with one well-formed `r` action.
std::optional<RangeStep> ParseRangeStep(std::string_view payload);

// The stub's answer to `vCont?`, with what the gateway adds.
std::string WithRangeStep(std::string_view vcont_answer);

}  // namespace kdbg::gdb
