#include "server/source/tree_walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/source/git_tree.h"
#include "server/source/object_reader.h"

namespace kdbg::source {
namespace {

// The largest folder of Linux makes 80 KB.
constexpr std::size_t kTreeObjectBytes = std::size_t{32} << 20;
constexpr std::int32_t kLongestPath = 4095;
// Folders name many files that other folders have too; beyond this it is no source.
constexpr std::int64_t kEntriesPerMember = 4;
constexpr std::int64_t kBeyondCounting = std::int64_t{1} << 50;

absl::Status TooLarge(std::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kTreeTooLarge,
                   fmt::format("the source {}: send less of it", what));
}

absl::Status WrongKind(const ObjectId& id, std::string_view is) {
  return MakeError(
      absl::StatusCode::kInvalidArgument, Reason::kTreeUnsafe,
      fmt::format("object {} is a {}, which its tree says it is not: send it again", id.Hex(), is));
}

absl::Status Missing(const ObjectId& id, std::size_t count) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kObjectsMissing,
                   fmt::format("the tree needs {} object{} that {} neither sent nor known here, "
                               "{} for one: ask again what is known, and send the rest",
                               count, count == 1 ? "" : "s", count == 1 ? "is" : "are", id.Hex()),
                   {{"object", id.Hex()}, {"count", std::to_string(count)}});
}

// Of a shape that somebody made to overflow a sum.
std::int64_t Sum(std::int64_t left, std::int64_t right) {
  return std::min(left + right, kBeyondCounting);
}

class Walk {
 public:
  Walk(const Extents& known, const ArchiveLimits& limits, const std::stop_token& stop)
      : known_(known), limits_(limits), stop_(stop) {}

  absl::Status Gather(ObjectReader& reader, const ObjectId& tree, int depth);
  absl::Status FindSizes(const Git& git);
  absl::Status AddUp(const ObjectId& tree);
  std::size_t objects() const { return trees_.size() + blobs_.size(); }
  Extents TakeFound() { return std::move(found_); }

 private:
  struct Child {
    ObjectId id;
    EntryKind kind;
    std::int32_t name_size;
  };

  const Extent* Find(const ObjectId& id) const;
  absl::Status GatherChild(ObjectReader& reader, const Child& child, int depth);

  const Extents& known_;
  const ArchiveLimits& limits_;
  const std::stop_token& stop_;
  absl::flat_hash_map<ObjectId, std::vector<Child>> trees_;
  absl::flat_hash_set<ObjectId> blobs_;
  std::int64_t entries_ = 0;
  Extents found_;
};

const Extent* Walk::Find(const ObjectId& id) const {
  for (const Extents* extents : {&known_, &found_}) {
    const auto found = extents->find(id);
    if (found != extents->end()) return &found->second;
  }
  return nullptr;
}

absl::Status Walk::Gather(ObjectReader& reader, const ObjectId& tree, int depth) {
  if (stop_.stop_requested()) return absl::CancelledError("the walk was stopped");
  if (depth > limits_.maximum_depth) {
    return TooLarge(fmt::format("nests folders deeper than {}", limits_.maximum_depth));
  }
  if (trees_.contains(tree)) return absl::OkStatus();
  if (const auto known = known_.find(tree); known != known_.end()) {
    return known->second.is_tree ? absl::OkStatus() : WrongKind(tree, "file");
  }
  KDBG_ASSIGN_OR_RETURN(const std::optional<GitObject> object,
                        reader.Read(tree.Hex(), kTreeObjectBytes));
  if (!object) return Missing(tree, 1);
  if (object->type != "tree") return WrongKind(tree, object->type);
  if (object->size > kTreeObjectBytes) return TooLarge("has a folder with too many files");
  KDBG_ASSIGN_OR_RETURN(const std::vector<TreeEntry> entries, ParseTree(object->content));
  entries_ += static_cast<std::int64_t>(entries.size());
  if (entries_ > kEntriesPerMember * limits_.maximum_members) {
    return TooLarge(fmt::format("has more than {} files", limits_.maximum_members));
  }
  std::vector<Child> children;
  children.reserve(entries.size());
  for (const TreeEntry& entry : entries) {
    // Its files are in another repository and do not come along; a checkout makes an empty folder.
    if (entry.kind == EntryKind::kSubmodule) continue;
    children.push_back({entry.id, entry.kind, static_cast<std::int32_t>(entry.name.size())});
  }
  for (const Child& child : children) KDBG_RETURN_IF_ERROR(GatherChild(reader, child, depth));
  trees_.emplace(tree, std::move(children));
  return absl::OkStatus();
}

absl::Status Walk::GatherChild(ObjectReader& reader, const Child& child, int depth) {
  if (child.kind == EntryKind::kTree) return Gather(reader, child.id, depth + 1);
  const auto known = known_.find(child.id);
  if (known == known_.end()) {
    blobs_.insert(child.id);
  } else if (known->second.is_tree) {
    return WrongKind(child.id, "folder");
  }
  return absl::OkStatus();
}

absl::Status Walk::FindSizes(const Git& git) {
  if (blobs_.empty()) return absl::OkStatus();
  std::string names;
  names.reserve(blobs_.size() * (ObjectId::kHexDigits + 1));
  const std::vector<ObjectId> asked(blobs_.begin(), blobs_.end());
  for (const ObjectId& blob : asked) names += blob.Hex() + "\n";
  // One line for each: "blob 12", or "<id> missing".
  KDBG_ASSIGN_OR_RETURN(
      const std::string answers,
      Git::Run(git.Command({"cat-file", "--batch-check=%(objecttype) %(objectsize)", "--buffer"}),
               stop_, std::move(names)));
  std::string_view rest = answers;
  std::size_t missing = 0;
  ObjectId first_missing;
  for (const ObjectId& blob : asked) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return absl::InternalError("git cat-file ended early");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (line.ends_with(" missing")) {
      if (missing++ == 0) first_missing = blob;
      continue;
    }
    const std::size_t space = line.find(' ');
    if (line.substr(0, space) != "blob") return WrongKind(blob, line.substr(0, space));
    Extent extent{.files = 1};
    std::from_chars(line.data() + space + 1, line.data() + line.size(), extent.bytes);
    extent.largest_file = extent.bytes;
    found_.emplace(blob, extent);
  }
  return missing == 0 ? absl::OkStatus() : Missing(first_missing, missing);
}

absl::Status Walk::AddUp(const ObjectId& tree) {
  if (Find(tree) != nullptr) return absl::OkStatus();
  const auto children = trees_.find(tree);
  if (children == trees_.end()) return absl::InternalError("a tree was left out of the walk");
  Extent sum{.is_tree = true};
  for (const Child& child : children->second) {
    if (child.kind == EntryKind::kTree) KDBG_RETURN_IF_ERROR(AddUp(child.id));
    const Extent* extent = Find(child.id);
    if (extent == nullptr) return absl::InternalError("an object was left out of the walk");
    sum.bytes = Sum(sum.bytes, extent->bytes);
    sum.files = Sum(sum.files, extent->files);
    sum.largest_file = std::max(sum.largest_file, extent->largest_file);
    const std::int32_t slash = extent->is_tree ? 1 : 0;
    sum.longest_path =
        std::min(std::max(sum.longest_path, child.name_size + slash + extent->longest_path),
                 2 * kLongestPath);
    sum.depth = std::max<std::int16_t>(
        sum.depth, static_cast<std::int16_t>(std::min(extent->depth + slash, 1 << 14)));
  }
  found_.emplace(tree, sum);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Extents> WalkTrees(const Git& git, std::span<const ObjectId> roots,
                                  const Extents& known, const ArchiveLimits& limits,
                                  std::size_t max_objects, const std::stop_token& stop) {
  Walk walk(known, limits, stop);
  std::size_t taken = 0;
  {
    KDBG_ASSIGN_OR_RETURN(ObjectReader reader, ObjectReader::Start(git));
    for (; taken < roots.size() && walk.objects() <= max_objects; ++taken) {
      KDBG_RETURN_IF_ERROR(walk.Gather(reader, roots[taken], 1));
    }
  }
  KDBG_RETURN_IF_ERROR(walk.FindSizes(git));
  for (const ObjectId& root : roots.first(taken)) KDBG_RETURN_IF_ERROR(walk.AddUp(root));
  return walk.TakeFound();
}

absl::Status CheckExtent(const Extent& tree, const ArchiveLimits& limits) {
  if (tree.files > limits.maximum_members) {
    return TooLarge(fmt::format("has more than {} files", limits.maximum_members));
  }
  if (tree.bytes > limits.maximum_bytes) {
    return TooLarge(fmt::format("holds more than {} bytes", limits.maximum_bytes));
  }
  if (tree.largest_file > limits.maximum_member_bytes) {
    return TooLarge(fmt::format("has a file of more than {} bytes", limits.maximum_member_bytes));
  }
  if (tree.depth > limits.maximum_depth) {
    return TooLarge(fmt::format("nests folders deeper than {}", limits.maximum_depth));
  }
  if (tree.longest_path > kLongestPath) {
    return TooLarge(fmt::format("has a path of more than {} bytes", kLongestPath));
  }
  if (tree.files == 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kTreeUnsafe,
                     "the source has no file in it");
  }
  return absl::OkStatus();
}

}  // namespace kdbg::source
