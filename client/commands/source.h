// `kdbgctl source ...`.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

CommandEnd SourceList(Context& context);
CommandEnd SourceShow(Context& context, const std::string& source);
CommandEnd SourceCat(Context& context, const std::string& source, const std::string& path);
CommandEnd SourceTrust(Context& context, const std::string& source);
CommandEnd SourceDelete(Context& context, const std::string& source);

// One file of a READY source, whole. NOT_FOUND when the tree has no such file.
absl::StatusOr<std::string> ReadSourceFile(Server& server, const std::string& source,
                                           const std::string& path);

}  // namespace kdbg::client
