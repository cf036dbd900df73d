// errno as an absl::Status, so that a full disk and a missing file keep their meaning on the way
// up.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace kdbg {

// `what` names the action and the object ("open /x/y"). ENOENT is NOT_FOUND, EACCES and EPERM
// PERMISSION_DENIED, EEXIST ALREADY_EXISTS, ENOSPC, EDQUOT, EMFILE, ENFILE and ENOMEM
// RESOURCE_EXHAUSTED, everything else INTERNAL.
absl::Status ErrnoError(int error_number, std::string_view what);

}  // namespace kdbg
