// What must be changed in a state that QEMU saved before a machine can be brought to it. Pure but
// for the file.
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::guest {

// Where in a state, or the end of one, the name of the run state is: 100 bytes, zero-padded, after
// its length in four. nullopt when there is none.
std::optional<std::size_t> FindRunState(std::string_view state);

// A machine halted at a breakpoint is saved as in "debug", and QEMU refuses to begin there: makes
// it "paused", whatever it was.
//   DATA_LOSS  kDataCorrupt: the file is no state
absl::Status MarkPaused(int file);

}  // namespace kdbg::guest
