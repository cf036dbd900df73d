// A guest's memory as an artifact.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "server/session/session_parts.h"
#include "server/store/artifact_store.h"
#include "server/vm/hypervisor.h"

namespace kdbg::session {

class LiveSession;

// A private artifact of `owner`: the core, and the symbols for it. Errors as
// LiveSession::WhileHalted, and RESOURCE_EXHAUSTED (kDiskFull).
absl::StatusOr<store::Artifact> DumpMemory(LiveSession& session, std::string_view owner,
                                           vm::DumpFormat format, const Sessions::Parts& parts);

}  // namespace kdbg::session
