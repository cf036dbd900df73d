// AttachGdb: the bytes of gdb's remote protocol between a caller and a session's door.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/session_service.pb.h"
#include "server/gdb/gateway.h"
#include "server/service/duplex_stream.h"

namespace kdbg::service {

using GdbTalk = Talk<v1::GdbClientFrame, v1::GdbServerFrame>;

// FAILED_PRECONDITION (kHolderBusy, metadata holder) while another gdb is attached.
absl::StatusOr<std::unique_ptr<GdbTalk>> MakeGdbTalk(std::shared_ptr<gdb::Door> door,
                                                     const std::string& user,
                                                     const v1::GdbClientFrame::Start& start,
                                                     Waker waker);

}  // namespace kdbg::service
