// VS Code's launch.json as people write it: JSON with comments and with commas before a closing
// bracket. What they wrote is theirs and stays, byte for byte. Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg::client {

// `text` with `configuration`, a JSON object, in its list `configurations`: in place of the one
// that is called `name`, else last. Blank text gives a new file.
//   INVALID_ARGUMENT  `text` is not such a file; says where
absl::StatusOr<std::string> WithConfiguration(std::string_view text, std::string_view name,
                                              std::string_view configuration);

}  // namespace kdbg::client
