// A file of an artifact as one zstd frame, by itself or as what it differs in from another file.
//
// By itself it is compressed as it goes. Over a base it is compressed at once, when the first chunk
// is asked for: a second or so for a kernel with debug information, and memory for the difference
// only, for both files are mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/artifact_service.pb.h"
#include "proto/support/mapped_file.h"
#include "server/service/write_stream.h"

namespace kdbg::service {

struct CompressedFile {
  MappedFile content;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::string digest;              // of the whole
  std::optional<MappedFile> base;  // that the caller has
  std::string base_digest;
};

// DATA_LOSS (kDataCorrupt) at its end, when the whole was asked for and is not what its digest
// says.
std::unique_ptr<Feed<v1::ArtifactFileChunk>> CompressedFeed(CompressedFile file);

}  // namespace kdbg::service
