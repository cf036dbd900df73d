// ReadArtifactFile: one file of an artifact in chunks. A whole file is hashed on its way out, so
// that damaged bytes end in DATA_LOSS and not in a debugger's confusion.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/artifact_service.pb.h"
#include "server/service/write_stream.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::service {

// NOT_FOUND lists the files there are, OUT_OF_RANGE (kOffsetOutOfRange), DATA_LOSS (kDataCorrupt).
// `base`, when it is given and the request asks for compression, is what the caller has.
absl::StatusOr<std::unique_ptr<Feed<v1::ArtifactFileChunk>>> OpenArtifactFile(
    const store::BlobStore& blobs, const store::Artifact& artifact,
    const v1::ReadArtifactFileRequest& request, const std::optional<store::ArtifactFile>& base);

}  // namespace kdbg::service
