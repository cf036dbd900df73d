#include "server/source/decompressor.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/errno_status.h"

namespace kdbg::source {
namespace {

constexpr std::size_t kInputBytes = std::size_t{1} << 20;

// By its magic number; libarchive no longer knows what it took the bytes for once it has failed.
bool IsCompressed(std::string_view start) {
  using namespace std::string_view_literals;
  const std::string_view magics[] = {"\x1f\x8b"sv, "BZh"sv, "\xfd\x37zXZ\0"sv,
                                     "\x28\xb5\x2f\xfd"sv};
  return std::any_of(std::begin(magics), std::end(magics),
                     [&](std::string_view magic) { return start.starts_with(magic); });
}

}  // namespace

ByteSource BytesOf(const UniqueFd& file) {
  return [fd = file.get(), offset = off_t{0}](
             char* buffer, std::size_t size) mutable -> absl::StatusOr<std::size_t> {
    ssize_t got = 0;
    do {
      got = ::pread(fd, buffer, size, offset);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return ErrnoError(errno, "read the tarball");
    offset += got;
    return static_cast<std::size_t>(got);
  };
}

absl::Status NotAnArchive(std::string_view detail) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kNotAnArchive,
                   fmt::format("not a tarball that can be read ({}); give a .tar, .tar.xz, "
                               ".tar.gz, .tar.bz2 or .tar.zst file",
                               detail));
}

absl::Status ArchiveTruncated() {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveTruncated,
                   "the tarball ends in the middle: it was cut off on its way; fetch it again");
}

struct Decompressor::State {
  ByteSource source;
  archive* reader = archive_read_new();
  absl::Status source_error;
  bool started = false;
  bool began = false;
  bool compressed = false;
  bool source_ended = false;
  std::vector<char> input = std::vector<char>(kInputBytes);

  ~State() { archive_read_free(reader); }

  static la_ssize_t Fill(archive* reader, void* self, const void** block) {
    auto* state = static_cast<State*>(self);
    const absl::StatusOr<std::size_t> size =
        state->source(state->input.data(), state->input.size());
    if (!size.ok()) {
      state->source_error = size.status();
      archive_set_error(reader, EIO, "the source failed");
      return ARCHIVE_FATAL;
    }
    const std::string_view fresh(state->input.data(), *size);
    if (!state->began) state->compressed = IsCompressed(fresh);
    state->began = true;
    state->source_ended = fresh.empty();
    *block = state->input.data();
    return static_cast<la_ssize_t>(*size);
  }

  absl::Status Start() {
    started = true;
    archive_read_support_format_raw(reader);
    archive_read_support_filter_gzip(reader);
    archive_read_support_filter_bzip2(reader);
    archive_read_support_filter_xz(reader);
    archive_read_support_filter_zstd(reader);
    archive_entry* entry = nullptr;
    if (archive_read_open(reader, this, nullptr, &Fill, nullptr) != ARCHIVE_OK ||
        archive_read_next_header(reader, &entry) != ARCHIVE_OK) {
      return Error();
    }
    return absl::OkStatus();
  }

  absl::Status Error() const {
    if (!source_error.ok()) return source_error;
    // What fails because the bytes ended was cut off; what fails with bytes to come is damaged.
    if (source_ended && compressed) return ArchiveTruncated();
    const char* text = archive_error_string(reader);
    return NotAnArchive(ValidUtf8(text == nullptr ? "unreadable" : text));
  }
};

Decompressor::Decompressor(ByteSource source) : state_(std::make_unique<State>()) {
  state_->source = std::move(source);
}

Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor::~Decompressor() = default;

absl::StatusOr<std::size_t> Decompressor::Read(char* buffer, std::size_t size) {
  if (!state_->started) {
    if (absl::Status status = state_->Start(); !status.ok()) return status;
  }
  const la_ssize_t n = archive_read_data(state_->reader, buffer, size);
  if (n < 0) return state_->Error();
  return static_cast<std::size_t>(n);
}

}  // namespace kdbg::source
