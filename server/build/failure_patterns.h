// What lines of make's output say of why it failed, as a table: what a line looks like, whose fault
// it is, and what to tell. Real logs of each are in tests/unit/build/logs.
//
// Thread-safe.
#pragma once

#include <optional>
#include <string_view>

#include "server/build/build_record.h"

namespace kdbg::build {

// How sure a line is of being the cause; a surer one later wins over a vaguer one before.
enum class Weight { kNone, kMakeError, kHint, kTool, kCause, kHostCause };

struct Finding {
  Weight weight = Weight::kNone;
  BuildFailure failure;
};

// What a single line says; of weight kNone for most.
Finding ReadLine(std::string_view line);

}  // namespace kdbg::build
