#include "server/source/object_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

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

ObjectReader::ObjectReader(Subprocess process, UniqueFd input, UniqueFd output)
    : process_(std::move(process)), input_(std::move(input)), output_(std::move(output)) {}

absl::StatusOr<ObjectReader> ObjectReader::Start(const Git& git) {
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
  return ObjectReader(std::move(process), std::move(input), std::move(output));
}

absl::StatusOr<std::optional<GitObject>> ObjectReader::Read(std::string_view name,
                                                            std::size_t max_bytes) {
  KDBG_RETURN_IF_ERROR(WriteAll(input_.get(), fmt::format("{}\n", name)));
  KDBG_ASSIGN_OR_RETURN(const std::string line, ReadLine());
  const std::optional<Header> header = Parse(line);
  if (!header) return std::nullopt;
  GitObject object{.type = std::string(header->type), .size = header->size, .content = {}};
  const bool wanted = header->size <= max_bytes;
  KDBG_ASSIGN_OR_RETURN(object.content, ReadBytes(header->size, wanted ? header->size : 0));
  KDBG_RETURN_IF_ERROR(ReadBytes(1, 0).status());  // the line feed behind it
  return object;
}

absl::StatusOr<std::string> ObjectReader::ReadLine() {
  std::size_t end = buffered_.find('\n', taken_);
  while (end == std::string::npos) {
    KDBG_RETURN_IF_ERROR(Fill());
    end = buffered_.find('\n', taken_);
  }
  std::string line = buffered_.substr(taken_, end - taken_);
  taken_ = end + 1;
  return line;
}

absl::StatusOr<std::string> ObjectReader::ReadBytes(std::size_t size, std::size_t keep) {
  std::string kept;
  while (size > 0) {
    if (taken_ == buffered_.size()) KDBG_RETURN_IF_ERROR(Fill());
    const std::size_t piece = std::min(size, buffered_.size() - taken_);
    kept.append(buffered_, taken_, std::min(piece, keep - kept.size()));
    taken_ += piece;
    size -= piece;
  }
  return kept;
}

absl::Status ObjectReader::Fill() {
  buffered_.erase(0, taken_);
  taken_ = 0;
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
