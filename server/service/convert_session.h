// Sessions: records -> messages, requests <- messages. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "kdbg/v1/session_service.pb.h"
#include "server/session/session_record.h"
#include "server/session/sessions.h"
#include "server/vm/hypervisor.h"

namespace kdbg::service {

v1::Session ToMessage(const session::SessionRecord& record);

// What everybody may know of a session that is not theirs: who holds how much, until when.
v1::Session ToStrangersMessage(const session::SessionRecord& record);

// All but the builds. INVALID_ARGUMENT names the field.
absl::StatusOr<session::SessionShare> ShareFrom(const v1::Session::Share& share);
absl::StatusOr<session::SessionRequest> RequestOf(const v1::CreateSessionRequest& request);

absl::StatusOr<session::Sessions::RestoreRequest> RestoreFrom(
    const v1::RestoreSessionRequest& request);
absl::StatusOr<vm::DumpFormat> DumpFormatFrom(v1::DumpSessionRequest::Format format);

}  // namespace kdbg::service
