// Creating a session and waiting until it can be debugged.
#pragma once

#include <string>

#include "client/commands/context.h"
#include "client/commands/session.h"

namespace kdbg::client {

absl::StatusOr<v1::Session> CreateSession(Context& context, const SessionCreateOptions& options);

// Blocks until the session is READY, CRASHED, FAILED or ENDED; an interrupt leaves it alone and
// says so.
absl::StatusOr<v1::Session> AwaitReady(Context& context, const v1::Session& session);

// kExitDone for READY; otherwise says on stderr what became of it.
int ReportReadiness(const v1::Session& session);

}  // namespace kdbg::client
