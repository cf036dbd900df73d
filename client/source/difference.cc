#include "client/source/difference.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kIdDigits = 40;
// Fewer than this are sent without asking whether one or the other is there at another path.
constexpr std::size_t kWorthAsking = 1000;
// The contract's bound for one call.
constexpr std::size_t kMostBases = 4096;
// Looking for deltas among files that have no counterpart saves a tenth and takes minutes.
constexpr std::size_t kManyObjects = 5000;

constexpr std::string_view kTreeMode = "040000";
constexpr std::string_view kSubmoduleMode = "160000";

struct Entry {
  std::string mode;
  std::string id;
  std::string old_id;  // at the same path of the base; empty when there is none
  std::string path;
};

// The next record of a list that NUL ends.
std::string_view NextField(std::string_view& rest) {
  const std::size_t end = std::min(rest.find('\0'), rest.size());
  const std::string_view field = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return field;
}

absl::Status Unexpected(std::string_view line) {
  return absl::InternalError(fmt::format("git printed \"{}\", which is not expected", line));
}

// Everything below `tree`, folders before what is in them.
absl::StatusOr<std::vector<Entry>> ListTree(const LocalGit& git, const std::string& tree) {
  KDBG_ASSIGN_OR_RETURN(const std::string listing,
                        git.Run({"ls-tree", "--full-tree", "-r", "-t", "-z", tree}));
  std::vector<Entry> entries;
  for (std::string_view rest = listing; !rest.empty();) {
    const std::string_view line = NextField(rest);  // "<mode> SP <type> SP <id> TAB <path>"
    const std::size_t tab = line.find('\t');
    const std::size_t mode_end = line.find(' ');
    if (tab == std::string_view::npos || tab < mode_end + kIdDigits) return Unexpected(line);
    entries.push_back({.mode = std::string(line.substr(0, mode_end)),
                       .id = std::string(line.substr(tab - kIdDigits, kIdDigits)),
                       .old_id = {},
                       .path = std::string(line.substr(tab + 1))});
  }
  return entries;
}

// What `tree` has and `base` has not at the same path, folders before what is in them.
absl::StatusOr<std::vector<Entry>> ListChanges(const LocalGit& git, const std::string& base,
                                               const std::string& tree) {
  KDBG_ASSIGN_OR_RETURN(const std::string listing,
                        git.Run({"diff-tree", "-r", "-t", "-z", "--raw", "--no-renames",
                                 "--no-relative", "--diff-filter=d", base, tree}));
  std::vector<Entry> entries;
  for (std::string_view rest = listing; !rest.empty();) {
    // ":<old mode> SP <mode> SP <old id> SP <id> SP <letter> NUL <path>"
    const std::string_view line = NextField(rest);
    constexpr std::size_t kOldId = 15;
    constexpr std::size_t kNewId = kOldId + kIdDigits + 1;
    if (line.size() < kNewId + kIdDigits + 2) return Unexpected(line);
    const bool is_new = line.back() == 'A';
    entries.push_back({.mode = std::string(line.substr(8, 6)),
                       .id = std::string(line.substr(kNewId, kIdDigits)),
                       .old_id = is_new ? "" : std::string(line.substr(kOldId, kIdDigits)),
                       .path = std::string(NextField(rest))});
  }
  return entries;
}

std::size_t DepthOf(const Entry& entry) {
  return static_cast<std::size_t>(std::count(entry.path.begin(), entry.path.end(), '/'));
}

// Takes out what the other side has, level by level: what is below a folder it has is not asked
// for.
absl::Status DropKnown(std::vector<Entry>& entries, const AskKnown& ask) {
  std::size_t deepest = 0;
  for (const Entry& entry : entries) deepest = std::max(deepest, DepthOf(entry));
  for (std::size_t depth = 0; depth <= deepest && !entries.empty(); ++depth) {
    std::set<std::string> asked;
    for (const Entry& entry : entries) {
      if (DepthOf(entry) == depth) asked.insert(entry.id);
    }
    KDBG_ASSIGN_OR_RETURN(const std::set<std::string> known,
                          ask(std::vector<std::string>(asked.begin(), asked.end())));
    if (known.empty()) continue;
    std::string known_folder;  // the last one that was met, with its slash
    std::erase_if(entries, [&](const Entry& entry) {
      if (!known_folder.empty() && entry.path.starts_with(known_folder)) return true;
      if (DepthOf(entry) != depth || !known.contains(entry.id)) return false;
      if (entry.mode == kTreeMode) known_folder = entry.path + "/";
      return true;
    });
  }
  return absl::OkStatus();
}

// The first of the bases that is known, and can be read here.
std::optional<std::string> ChooseBase(const LocalGit& git, const std::vector<std::string>& bases,
                                      const std::set<std::string>& known) {
  for (const std::string& base : bases) {
    if (known.contains(base) && git.Run({"cat-file", "-e", base + "^{tree}"}).ok()) return base;
  }
  return std::nullopt;
}

Difference Describe(const std::string& tree, const std::optional<std::string>& base,
                    const std::vector<Entry>& entries) {
  Difference difference;
  std::set<std::string> ids = {tree};
  // Names tell which objects may resemble each other.
  std::string list = tree + " \n";
  std::set<std::string> bases;
  for (const Entry& entry : entries) {
    if (!ids.insert(entry.id).second) continue;
    list += fmt::format("{} {}\n", entry.id, entry.path);
    if (!entry.old_id.empty()) bases.insert(entry.old_id);
  }
  difference.objects = ids.size();
  if (base && bases.size() < kMostBases) {
    list.insert(0, fmt::format("-{}\n", *base));  // pack-objects' way to name what may be built on
    bases.insert(*base);
    difference.delta_bases.assign(bases.begin(), bases.end());
  }
  difference.recipe = std::move(list);
  return difference;
}

}  // namespace

absl::StatusOr<Difference> FindDifference(const LocalGit& git, const std::string& tree,
                                          const std::vector<std::string>& bases,
                                          const AskKnown& ask) {
  std::vector<std::string> roots = {tree};
  std::copy_if(bases.begin(), bases.end(), std::back_inserter(roots),
               [&](const std::string& base) { return base.size() == kIdDigits && base != tree; });
  KDBG_ASSIGN_OR_RETURN(const std::set<std::string> known, ask(roots));
  if (known.contains(tree)) return Difference();
  const std::optional<std::string> base = ChooseBase(git, bases, known);
  KDBG_ASSIGN_OR_RETURN(std::vector<Entry> entries,
                        base ? ListChanges(git, *base, tree) : ListTree(git, tree));
  std::vector<std::string> submodules;
  std::erase_if(entries, [&](const Entry& entry) {
    if (entry.mode != kSubmoduleMode) return false;
    submodules.push_back(entry.path);
    return true;
  });
  if (!base || entries.size() > kWorthAsking) KDBG_RETURN_IF_ERROR(DropKnown(entries, ask));
  Difference difference = Describe(tree, base, entries);
  difference.submodules = std::move(submodules);
  return difference;
}

absl::Status WritePack(const LocalGit& git, const Difference& difference, const fs::path& file) {
  // Another one of us may be making the same.
  const fs::path unfinished = fmt::format("{}.{}", file.string(), ::getpid());
  const UniqueFd fd(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return ErrnoError(errno, "create " + unfinished.string());
  std::vector<std::string> arguments = {"-c", "pack.compression=1", "pack-objects", "--stdout",
                                        "-q"};
  if (difference.objects > kManyObjects) arguments.push_back("--window=0");
  absl::Status status = git.RunTo(fd.get(), arguments, difference.recipe);
  std::error_code error;
  if (status.ok()) {
    fs::rename(unfinished, file, error);
    if (error) status = ErrnoError(error.value(), "rename " + unfinished.string());
  }
  if (!status.ok()) fs::remove(unfinished, error);
  return status;
}

}  // namespace kdbg::client
