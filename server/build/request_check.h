// Whether a build request can be queued at all: its fields, and whether its source is what it asks
// to build.
#pragma once

#include "absl/status/status.h"
#include "server/build/build_record.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"

namespace kdbg::build {

//   INVALID_ARGUMENT     a field is malformed; metadata names it
//   FAILED_PRECONDITION  the source is not ready, or no project of that kind
//   NOT_FOUND            the base config is not in the source
absl::Status CheckRequest(const BuildRequest& request, const source::SourceRecord& source,
                          const source::ObjectDatabase& objects);

}  // namespace kdbg::build
