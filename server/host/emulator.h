// The QEMU that runs guests of an architecture on this host. Stateless.
#pragma once

#include <filesystem>

#include "absl/status/status.h"
#include "proto/contract/architecture.h"

namespace kdbg::host {

// Where Debian installs it, whether or not it is there.
std::filesystem::path EmulatorPath(Architecture architecture);
// FAILED_PRECONDITION (kMissingTool; metadata: tool, package) when it is not installed.
absl::Status CheckEmulator(Architecture architecture);

}  // namespace kdbg::host
