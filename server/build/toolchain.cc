#include "server/build/toolchain.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <string_view>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"

namespace kdbg::build {
namespace {

struct Needed {
  std::string path;
  std::string_view package;
};

// Where Debian has them: cross compilers beside the host's own, with a libc in a root of its own.
std::vector<Needed> NeededFor(const ArchitectureTraits& traits, bool cross, Target target) {
  const std::string_view prefix = cross ? traits.cross_prefix : std::string_view();
  const std::string_view compiler = cross ? traits.compiler_package : std::string_view("gcc");
  std::vector<Needed> needed;
  for (std::string_view tool : {"gcc", "as", "ld"}) {
    needed.push_back({fmt::format("/usr/bin/{}{}", prefix, tool), compiler});
  }
  if (target == Target::kKernel) return needed;
  std::string_view triplet = traits.cross_prefix;
  triplet.remove_suffix(1);
  needed.push_back(cross ? Needed{fmt::format("/usr/{}/lib/libc.a", triplet), traits.libc_package}
                         : Needed{fmt::format("/usr/lib/{}/libc.a", triplet), "libc6-dev"});
  return needed;
}

}  // namespace

absl::StatusOr<Toolchain> FindToolchain(Architecture architecture, Target target) {
  const ArchitectureTraits& traits = TraitsOf(architecture);
  const bool cross = architecture != HostArchitecture();
  std::string facts;
  for (const Needed& needed : NeededFor(traits, cross, target)) {
    struct stat about = {};
    if (::stat(needed.path.c_str(), &about) != 0) {
      return MakeError(
          absl::StatusCode::kFailedPrecondition, Reason::kMissingTool,
          fmt::format("the build host has no {}, which {} needs: ask its admin to "
                      "install the package {}",
                      needed.path,
                      target == Target::kKernel ? fmt::format("a kernel for {}", traits.name)
                                                : fmt::format("a program for {}", traits.name),
                      needed.package),
          {{"tool", needed.path}, {"package", std::string(needed.package)}});
    }
    facts += fmt::format("{} {} {} {}\n", needed.path, about.st_ino, about.st_size,
                         about.st_mtim.tv_sec);
  }
  return Toolchain{.cross_prefix = cross ? std::string(traits.cross_prefix) : std::string(),
                   .identity = Sha256Hex(facts).substr(0, 16)};
}

}  // namespace kdbg::build
