// Sources and uploads: records <-> messages. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "kdbg/v1/source_service.pb.h"
#include "server/source/object_id.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"

namespace kdbg::service {

v1::Upload ToMessage(const source::Upload& upload);
v1::Source ToMessage(const source::SourceRecord& record);

// Without owner and reader, which the call knows. INVALID_ARGUMENT for no origin or one that is
// malformed.
absl::StatusOr<source::SourceRequest> RequestOf(const v1::CreateSourceRequest& request);

// INVALID_ARGUMENT for what is no id, and for too many of them.
absl::StatusOr<std::vector<source::ObjectId>> ObjectIdsOf(
    const google::protobuf::RepeatedPtrField<std::string>& texts, std::string_view field);

}  // namespace kdbg::service
