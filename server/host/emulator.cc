#include "server/host/emulator.h"

#include <fmt/format.h>
#include <unistd.h>

#include "proto/contract/error.h"

namespace kdbg::host {

std::filesystem::path EmulatorPath(Architecture architecture) {
  return std::filesystem::path("/usr/bin") / TraitsOf(architecture).qemu_binary;
}

absl::Status CheckEmulator(Architecture architecture) {
  const std::filesystem::path path = EmulatorPath(architecture);
  if (::access(path.c_str(), X_OK) == 0) return absl::OkStatus();
  const ArchitectureTraits& traits = TraitsOf(architecture);
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kMissingTool,
                   fmt::format("this host has no {}, which runs {} guests: ask its admin to "
                               "install the package {}",
                               path.string(), traits.name, traits.qemu_package),
                   {{"tool", path.string()}, {"package", std::string(traits.qemu_package)}});
}

}  // namespace kdbg::host
