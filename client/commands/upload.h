// Sending a file: hashed, sent as a stream, gone on with after a broken connection, kept by the
// server until complete.
#pragma once

#include <filesystem>
#include <string>

#include "client/commands/context.h"
#include "client/output/progress.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {

struct LocalFile {
  std::filesystem::path path;
  UniqueFd fd;
  std::int64_t size_bytes = 0;
  std::string sha256;
};

// Opens a regular, non-empty file and hashes it.
absl::StatusOr<LocalFile> OpenAndHash(const std::filesystem::path& path, Progress& progress);

// The complete upload of `file`. Bytes that an earlier try left on the server are not sent again.
absl::StatusOr<v1::Upload> UploadFile(Context& context, const LocalFile& file, Progress& progress);

}  // namespace kdbg::client
