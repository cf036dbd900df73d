// A failed build as a status on its way up, and back as what the record says. Stateless.
#pragma once

#include "absl/status/status.h"
#include "server/build/build_record.h"

namespace kdbg::build {

// Fault, reason, place and excerpt travel with it.
absl::Status FailureStatus(const BuildFailure& failure);

// What FailureStatus was given; for other errors by their code: INVALID_ARGUMENT is the caller's
// fault, FAILED_PRECONDITION the subject's, everything else the host's.
BuildFailure FailureOf(const absl::Status& status);

// Whether the same build may succeed another time, nobody having changed anything.
bool MayPass(const BuildFailure& failure);

}  // namespace kdbg::build
