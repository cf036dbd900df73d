// Git tree objects from strangers: whatever the bytes, no entry is handed out that a checkout could
// be led astray with.
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "server/source/git_tree.h"

namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto entries = kdbg::source::ParseTree(bytes);
  if (!entries.ok()) return 0;
  std::set<std::string_view> names;
  size_t used = 0;
  for (const auto& entry : *entries) {
    Require(!entry.name.empty() && entry.name.size() <= 255);
    Require(entry.name != "." && entry.name != ".." && entry.name != ".git");
    Require(entry.name.find('/') == std::string_view::npos);
    Require(entry.name.find('\0') == std::string_view::npos);
    Require(names.insert(entry.name).second);
    const bool tree = entry.kind == kdbg::source::EntryKind::kTree;
    used += (tree ? 5 : 6) + 1 + entry.name.size() + 1 + kdbg::source::ObjectId::kBytes;
  }
  Require(used == size);
  return 0;
}
