// A git tree object's bytes as its entries. Pure; the bytes are a stranger's.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/source/object_id.h"

namespace kdbg::source {

enum class EntryKind { kFile, kSymlink, kTree, kSubmodule };

struct TreeEntry {
  EntryKind kind = EntryKind::kFile;
  std::string_view name;  // points into the bytes that were parsed
  ObjectId id;
};

// INVALID_ARGUMENT (kTreeUnsafe) for bytes that are no tree, and for what must not meet a file
// system: names that are empty, "..", ".git" in any case, too long, with a slash or given twice,
// entries out of git's order, and modes that git does not know.
absl::StatusOr<std::vector<TreeEntry>> ParseTree(std::string_view bytes);

}  // namespace kdbg::source
