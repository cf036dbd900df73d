// The QEMU that runs guests of an architecture on this host. Thread-safe.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/contract/architecture.h"

namespace kdbg::host {

// Where Debian installs it, whether or not it is there.
std::filesystem::path EmulatorPath(Architecture architecture);
// FAILED_PRECONDITION (kMissingTool; metadata: tool, package) when it is not installed.
absl::Status CheckEmulator(Architecture architecture);

// What it says of itself, such as "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)". Runs it once, and again
// when the program has changed; as CheckEmulator when it is not installed.
absl::StatusOr<std::string> EmulatorVersion(Architecture architecture);

}  // namespace kdbg::host
