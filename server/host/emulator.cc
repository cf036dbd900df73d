#include "server/host/emulator.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <map>
#include <string_view>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/subprocess.h"

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

absl::StatusOr<std::string> EmulatorVersion(Architecture architecture) {
  struct Known {
    timespec changed{};
    std::string version;
  };
  static absl::Mutex mutex(absl::kConstInit);
  static auto& known = *new std::map<Architecture, Known>();
  KDBG_RETURN_IF_ERROR(CheckEmulator(architecture));
  const std::filesystem::path path = EmulatorPath(architecture);
  struct stat now {};
  if (::stat(path.c_str(), &now) != 0) return ErrnoError(errno, path.string());
  absl::MutexLock lock(&mutex);
  Known& entry = known[architecture];
  if (entry.changed.tv_sec == now.st_ctim.tv_sec && entry.changed.tv_nsec == now.st_ctim.tv_nsec) {
    return entry.version;
  }
  Subprocess::Options options;
  options.argv = {path.string(), "--version"};
  KDBG_ASSIGN_OR_RETURN(const CommandResult said,
                        RunCommand(std::move(options), "", std::chrono::seconds(30)));
  std::string line = said.output.substr(0, said.output.find('\n'));
  constexpr std::string_view kBefore = "version ";
  const std::size_t at = line.find(kBefore);
  if (!said.status.ok() || at == std::string::npos) {
    return absl::InternalError(fmt::format("{} does not say which version it is", path.string()));
  }
  entry = {.changed = now.st_ctim, .version = line.substr(at + kBefore.size())};
  return entry.version;
}

}  // namespace kdbg::host
