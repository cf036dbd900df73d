// What a saved state tells of the session it is from, as attributes of its artifact. Pure.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/session_record.h"
#include "server/store/artifact_store.h"

namespace kdbg::session {

// Files of the artifact.
inline constexpr char kStateFile[] = "state";
inline constexpr char kConsoleFile[] = "console.log";

// `emulator` is what the state is from: states go from one to the same only.
std::map<std::string, std::string> SavedAttributes(const SessionRecord& record,
                                                   std::string_view emulator);

// A request for a session that goes on from there.
//   INVALID_ARGUMENT  kFieldInvalid: the artifact is no saved state
//   DATA_LOSS         kDataCorrupt: it does not say what it is from
absl::StatusOr<SessionRequest> RequestToRestore(const store::Artifact& saved);

// FAILED_PRECONDITION (kHypervisorRefused) unless it is from this emulator.
absl::Status CheckEmulator(const store::Artifact& saved, std::string_view emulator);

// Where the guest was halted; may be empty.
std::string StoppedAt(const store::Artifact& saved);

}  // namespace kdbg::session
