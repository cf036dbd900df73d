#include "server/source/git_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

constexpr std::size_t kLongestName = 255;  // NAME_MAX
constexpr std::size_t kShownBytes = 300;

absl::Status Unsafe(std::string_view name, std::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kTreeUnsafe,
                   fmt::format("a tree with an entry \"{}\" that {}: remove it from the source",
                               ShortUtf8(name, kShownBytes), why),
                   {{"path", ShortUtf8(name, kShownBytes)}});
}

absl::Status NoTree() {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kTreeUnsafe,
                   "an object that should be a git tree is none: send it again");
}

std::optional<EntryKind> KindOf(std::string_view mode) {
  // 100664 is in trees that early versions of git made.
  if (mode == "100644" || mode == "100755" || mode == "100664") return EntryKind::kFile;
  if (mode == "40000") return EntryKind::kTree;
  if (mode == "120000") return EntryKind::kSymlink;
  if (mode == "160000") return EntryKind::kSubmodule;
  return std::nullopt;
}

absl::Status CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return Unsafe(name, "is no name of a file");
  if (name.find('/') != std::string_view::npos) return Unsafe(name, "has a slash in its name");
  if (name.size() > kLongestName) return Unsafe(name, "has a name of more than 255 bytes");
  if (absl::EqualsIgnoreCase(absl::string_view(name.data(), name.size()), ".git")) {
    return Unsafe(name, "is git's own");
  }
  return absl::OkStatus();
}

// git's order: a folder's name counts as if a slash ended it.
bool IsBefore(const TreeEntry& left, const TreeEntry& right) {
  const std::size_t common = std::min(left.name.size(), right.name.size());
  const int order = left.name.substr(0, common).compare(right.name.substr(0, common));
  if (order != 0) return order < 0;
  const auto next = [common](const TreeEntry& entry) {
    if (entry.name.size() > common) return static_cast<unsigned char>(entry.name[common]);
    return static_cast<unsigned char>(entry.kind == EntryKind::kTree ? '/' : '\0');
  };
  return next(left) < next(right);
}

// A file and a folder of one name do not lie side by side in a tree, so order alone shows nothing.
absl::Status CheckTwice(const std::vector<TreeEntry>& entries) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const TreeEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  return twice == names.end() ? absl::OkStatus() : Unsafe(*twice, "is there twice");
}

}  // namespace

absl::StatusOr<std::vector<TreeEntry>> ParseTree(std::string_view bytes) {
  std::vector<TreeEntry> entries;
  while (!bytes.empty()) {
    const std::size_t space = bytes.find(' ');
    const std::size_t end = bytes.find('\0');
    if (end == std::string_view::npos || space > end) return NoTree();
    if (bytes.size() - end - 1 < ObjectId::kBytes) return NoTree();
    TreeEntry entry;
    entry.name = bytes.substr(space + 1, end - space - 1);
    const std::optional<EntryKind> kind = KindOf(bytes.substr(0, space));
    if (!kind) return Unsafe(entry.name, "is of a kind git does not know");
    KDBG_RETURN_IF_ERROR(CheckName(entry.name));
    entry.kind = *kind;
    if (!entries.empty() && !IsBefore(entries.back(), entry)) {
      return Unsafe(entry.name, "is there twice, or out of order");
    }
    entry.id = ObjectId::FromBytes(bytes.substr(end + 1, ObjectId::kBytes));
    bytes.remove_prefix(end + 1 + ObjectId::kBytes);
    entries.push_back(entry);
  }
  KDBG_RETURN_IF_ERROR(CheckTwice(entries));
  return entries;
}

}  // namespace kdbg::source
