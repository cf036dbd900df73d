// Compressed bytes in, plain bytes out: gzip, bzip2, xz, zstd, told by their first bytes; anything
// else passes as it is. One thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::source {

// Where bytes come from: fills the buffer, 0 at the end.
using ByteSource = std::function<absl::StatusOr<std::size_t>(char* buffer, std::size_t size)>;

// A file's, from its beginning, wherever its own offset is. The file must outlive it.
ByteSource BytesOf(const UniqueFd& file);

class Decompressor {
 public:
  explicit Decompressor(ByteSource source);
  Decompressor(Decompressor&&) noexcept;
  ~Decompressor();

  // 0 at the end, which is only reached when every checksum was right. An error of the source comes
  // back as it is; else INVALID_ARGUMENT: kArchiveTruncated when the bytes end before they should,
  // kNotAnArchive when they are damaged or empty.
  absl::StatusOr<std::size_t> Read(char* buffer, std::size_t size);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The errors that archives share.
absl::Status NotAnArchive(std::string_view detail);
absl::Status ArchiveTruncated();

}  // namespace kdbg::source
