// The compilers of the build host. Stateless.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/contract/architecture.h"

namespace kdbg::build {

struct Toolchain {
  std::string cross_prefix;   // CROSS_COMPILE=; empty for the host's own architecture
  std::string compiler;       // CC=, in PATH
  std::string host_compiler;  // HOSTCC=
  // Differs when another compiler, assembler, linker or libc is installed.
  std::string identity;
};

// What is to be made: programs need a libc to be linked with, a kernel does not.
enum class Target { kKernel, kProgram };

// FAILED_PRECONDITION (kMissingTool; metadata: tool, package) when the host has none.
absl::StatusOr<Toolchain> FindToolchain(Architecture architecture, Target target);
// clang and lld of the version "-14", or Debian's default for "": they know every architecture.
absl::StatusOr<Toolchain> FindLlvm(Architecture architecture, std::string_view version);

}  // namespace kdbg::build
