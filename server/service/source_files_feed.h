// ReadSourceFiles: files of a ready source in chunks, in the order asked for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kdbg/v1/source_service.pb.h"
#include "server/service/write_stream.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"

namespace kdbg::service {

// INVALID_ARGUMENT for too many paths or none, FAILED_PRECONDITION (kWrongState) unless the source
// is ready.
absl::StatusOr<std::unique_ptr<Feed<v1::SourceFileChunk>>> OpenSourceFiles(
    const source::ObjectDatabase& objects, const source::SourceRecord& source,
    std::vector<std::string> paths);

}  // namespace kdbg::service
