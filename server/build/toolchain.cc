#include "server/build/toolchain.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <string_view>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"

namespace kdbg::build {

absl::StatusOr<Toolchain> FindToolchain(Architecture architecture) {
  Toolchain toolchain;
  if (architecture != HostArchitecture()) {
    toolchain.cross_prefix = std::string(TraitsOf(architecture).cross_prefix);
  }
  std::string facts;
  for (std::string_view tool : {"gcc", "as", "ld"}) {
    const std::string path = fmt::format("/usr/bin/{}{}", toolchain.cross_prefix, tool);
    struct stat about = {};
    if (::stat(path.c_str(), &about) != 0) {
      const std::string package =
          toolchain.cross_prefix.empty()
              ? "gcc"
              : fmt::format("gcc-{}",
                            toolchain.cross_prefix.substr(0, toolchain.cross_prefix.size() - 1));
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kMissingTool,
                       fmt::format("this host has no {}: ask its admin to install the package {}",
                                   path, package),
                       {{"tool", path}, {"package", package}});
    }
    facts += fmt::format("{} {} {} {}\n", path, about.st_ino, about.st_size, about.st_mtim.tv_sec);
  }
  toolchain.identity = Sha256Hex(facts).substr(0, 16);
  return toolchain;
}

}  // namespace kdbg::build
