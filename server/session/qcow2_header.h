// What the first bytes of a qcow2 file (version 2 or 3) say of other files that belong to it.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::session {

inline constexpr std::size_t kQcow2HeaderBytes = 104;  // of version 3, as far as we look

// Whether the file stands by itself: QEMU would open with its own rights whatever it names.
//   FAILED_PRECONDITION  it names a backing file or a data file, or is no qcow2
absl::Status CheckStandsAlone(std::string_view header);

}  // namespace kdbg::session
