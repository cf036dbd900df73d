// Which calls and visits are actions that somebody may have to answer for, and what is kept of
// those.
#pragma once

#include <optional>

#include "server/observe/audit.h"
#include "server/service/call_gate.h"
#include "server/session/session_parts.h"

namespace kdbg::service {

// nullopt for a call that only looked and was let to; a conversation counts when it begins.
// Whatever was refused for lack of rights is kept.
std::optional<observe::AuditRecord> AuditOf(const CallReport& call);

// Of who came to a gdb port.
observe::AuditRecord AuditOf(const session::GdbVisit& visit);

}  // namespace kdbg::service
