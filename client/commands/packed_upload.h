// What is laid over an initramfs: tar files as they are, directories packed first.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

// The upload of what `path` names. A directory is packed the same each time (by name, without owner
// and time), so an unchanged one does not travel again and its build is answered from the store.
absl::StatusOr<v1::Upload> UploadOverlay(Context& context, const std::string& path);

}  // namespace kdbg::client
