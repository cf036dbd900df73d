#include "server/source/tree_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

constexpr std::size_t kShownBytes = 400;

absl::Status NoSuchFile(std::string_view path) {
  return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                   fmt::format("no file \"{}\" in this source", ShortUtf8(path, kShownBytes)),
                   {{"resource", ShortUtf8(path, kShownBytes)}});
}

// Relative, and nothing that git's own path syntax would take for more than a name.
bool IsPlainPath(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\n') != std::string_view::npos ||
      path.find('\0') != std::string_view::npos) {
    return false;
  }
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = slash + 1;
  }
  return true;
}

}  // namespace

absl::StatusOr<TreeReader> TreeReader::Start(const Git& git, std::string_view tree) {
  KDBG_ASSIGN_OR_RETURN(ObjectReader objects, ObjectReader::Start(git));
  return TreeReader(std::move(objects), std::string(tree));
}

absl::StatusOr<std::string> TreeReader::Read(std::string_view path, std::size_t max_bytes) {
  if (!IsPlainPath(path)) return NoSuchFile(path);
  KDBG_ASSIGN_OR_RETURN(std::optional<GitObject> object,
                        objects_.Read(fmt::format("{}:{}", tree_, path), max_bytes));
  if (!object || object->type != "blob") return NoSuchFile(path);
  if (object->size > max_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("\"{}\" has {} bytes, more than the {} that are read at once",
                    ShortUtf8(path, kShownBytes), object->size, max_bytes));
  }
  return std::move(object->content);
}

}  // namespace kdbg::source
