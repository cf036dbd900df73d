// Builds: records -> messages, requests <- messages with the limits the contract names. Pure.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kdbg/v1/build_service.pb.h"
#include "server/build/build_record.h"
#include "server/build/config_editor.h"

namespace kdbg::service {

// Without what is input only (whole configs): a list would not fit into a message. `now`
// is for how long it has been running.
v1::Build ToMessage(const build::BuildRecord& record, absl::Time now);

// All but the source's existence and the owner's rights to it. INVALID_ARGUMENT names the field.
absl::StatusOr<build::BuildRequest> RequestOf(const v1::CreateBuildRequest& request);
absl::StatusOr<build::ConfigEditRequest> RequestOf(const v1::ConfigureKernelRequest::Start& start);

// A size that a terminal can have.
absl::StatusOr<host::TerminalSize> FromMessage(const v1::TerminalSize& size,
                                               std::string_view field);

}  // namespace kdbg::service
