// A build record as one text value of the database, and back. Stateless.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/build/build_record.h"

namespace kdbg::build {

// Everything of a record that has no column of its own.
std::string EncodeDetail(const BuildRecord& record);
// DATA_LOSS (kDataCorrupt) for a text that EncodeDetail did not write.
absl::Status DecodeDetail(std::string_view text, BuildRecord& record);

}  // namespace kdbg::build
