// The compilers of the build host. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "proto/contract/architecture.h"

namespace kdbg::build {

struct Toolchain {
  std::string cross_prefix;  // CROSS_COMPILE=; empty for the host's own architecture
  // Differs when another compiler, assembler, linker or libc is installed.
  std::string identity;
};

// What is to be made: programs need a libc to be linked with, a kernel does not.
enum class Target { kKernel, kProgram };

// FAILED_PRECONDITION (kMissingTool; metadata: tool, package) when the host has none.
absl::StatusOr<Toolchain> FindToolchain(Architecture architecture, Target target);

}  // namespace kdbg::build
