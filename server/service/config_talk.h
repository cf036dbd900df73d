// ConfigureKernel: the terminal of a config editor between a caller and the sandbox.
#pragma once

#include <memory>

#include "kdbg/v1/build_service.pb.h"
#include "server/build/config_editor.h"
#include "server/service/duplex_stream.h"

namespace kdbg::service {

using ConfigTalk = Talk<v1::ConfigureKernelRequest, v1::ConfigureKernelResponse>;

// The talk and its editor end together.
std::unique_ptr<ConfigTalk> MakeConfigTalk(std::unique_ptr<build::ConfigEditor> editor);

}  // namespace kdbg::service
