// Sources and uploads: records <-> messages. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "kdbg/v1/source_service.pb.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"

namespace kdbg::service {

v1::Upload ToMessage(const source::Upload& upload);
v1::Source ToMessage(const source::SourceRecord& record);

// INVALID_ARGUMENT for no origin or one that is malformed.
absl::StatusOr<source::SourceOrigin> OriginOf(const v1::Source& source);

}  // namespace kdbg::service
