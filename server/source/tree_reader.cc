#include "server/source/tree_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
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

struct Header {
  std::string_view type;
  std::size_t size = 0;
};

// "<id> SP <type> SP <size>", or "<what was asked for> missing".
std::optional<Header> Parse(std::string_view line) {
  const std::size_t last = line.rfind(' ');
  const std::size_t middle = last == std::string_view::npos ? last : line.rfind(' ', last - 1);
  Header header;
  if (middle == std::string_view::npos) return std::nullopt;
  const std::string_view size = line.substr(last + 1);
  const auto parsed = std::from_chars(size.data(), size.data() + size.size(), header.size);
  if (parsed.ec != std::errc() || parsed.ptr != size.data() + size.size()) return std::nullopt;
  header.type = line.substr(middle + 1, last - middle - 1);
  return header;
}

}  // namespace

TreeReader::TreeReader(Subprocess process, UniqueFd input, UniqueFd output, std::string tree)
    : process_(std::move(process)),
      input_(std::move(input)),
      output_(std::move(output)),
      tree_(std::move(tree)) {}

absl::StatusOr<TreeReader> TreeReader::Start(const Git& git, std::string_view tree) {
  int to_child[2];
  int from_child[2];
  if (::pipe2(to_child, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd child_input(to_child[0]);
  UniqueFd input(to_child[1]);
  if (::pipe2(from_child, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd output(from_child[0]);
  UniqueFd child_output(from_child[1]);
  Subprocess::Options options = git.Command({"cat-file", "--batch"});
  options.descriptors = {{0, child_input.get()}, {1, child_output.get()}};
  KDBG_ASSIGN_OR_RETURN(Subprocess process, Subprocess::Start(options));
  return TreeReader(std::move(process), std::move(input), std::move(output), std::string(tree));
}

absl::StatusOr<std::string> TreeReader::Read(std::string_view path, std::size_t max_bytes) {
  if (!IsPlainPath(path)) return NoSuchFile(path);
  KDBG_RETURN_IF_ERROR(WriteAll(input_.get(), fmt::format("{}:{}\n", tree_, path)));
  KDBG_ASSIGN_OR_RETURN(const std::string line, ReadLine());
  const std::optional<Header> header = Parse(line);
  if (!header) return NoSuchFile(path);
  const bool wanted = header->type == "blob" && header->size <= max_bytes;
  KDBG_ASSIGN_OR_RETURN(std::string content,
                        ReadBytes(header->size, wanted ? header->size : std::size_t{0}));
  KDBG_RETURN_IF_ERROR(ReadBytes(1, 0).status());  // the line feed behind it
  if (header->type != "blob") return NoSuchFile(path);
  if (!wanted) {
    return absl::ResourceExhaustedError(
        fmt::format("\"{}\" has {} bytes, more than the {} that are read at once",
                    ShortUtf8(path, kShownBytes), header->size, max_bytes));
  }
  return content;
}

absl::StatusOr<std::string> TreeReader::ReadLine() {
  std::size_t end = buffered_.find('\n');
  while (end == std::string::npos) {
    KDBG_RETURN_IF_ERROR(Fill());
    end = buffered_.find('\n');
  }
  std::string line = buffered_.substr(0, end);
  buffered_.erase(0, end + 1);
  return line;
}

absl::StatusOr<std::string> TreeReader::ReadBytes(std::size_t size, std::size_t keep) {
  std::string kept;
  while (size > 0) {
    if (buffered_.empty()) KDBG_RETURN_IF_ERROR(Fill());
    const std::size_t piece = std::min(size, buffered_.size());
    kept.append(buffered_, 0, std::min(piece, keep - kept.size()));
    buffered_.erase(0, piece);
    size -= piece;
  }
  return kept;
}

absl::Status TreeReader::Fill() {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read from git");
    if (n == 0) return absl::InternalError("git cat-file ended");
    buffered_.append(buffer.data(), static_cast<std::size_t>(n));
    return absl::OkStatus();
  }
}

}  // namespace kdbg::source
