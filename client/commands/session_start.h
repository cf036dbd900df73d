// Creating a session and waiting until it can be debugged.
#pragma once

#include <string>

#include "client/commands/context.h"
#include "client/commands/session.h"

namespace kdbg::client {

absl::StatusOr<v1::Session> CreateSession(Context& context, const SessionCreateOptions& options);

enum class IfInterrupted { kLeaveSession, kEndSession };

// Blocks until the session is READY, CRASHED, FAILED or ENDED. An interrupt says what becomes of
// it.
absl::StatusOr<v1::Session> AwaitReady(Context& context, const v1::Session& session,
                                       IfInterrupted interrupted = IfInterrupted::kLeaveSession);

// kExitDone for READY; otherwise says on stderr what became of it.
int ReportReadiness(const v1::Session& session);

}  // namespace kdbg::client
