// Folders that travel as one upload: tar files as they are, directories packed first.
#pragma once

#include <string>
#include <string_view>

#include "client/commands/context.h"

namespace kdbg::client {

// The upload of what `path`, given to `option`, names. A directory is packed the same each time (by
// name, without owner and time), so an unchanged one does not travel again, and what is built of it
// is found again.
absl::StatusOr<v1::Upload> UploadTar(Context& context, std::string_view option,
                                     const std::string& path);

}  // namespace kdbg::client
