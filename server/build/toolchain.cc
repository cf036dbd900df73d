#include "server/build/toolchain.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <string_view>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

struct Needed {
  std::string path;
  std::string package;
};

// Where Debian has them: cross compilers beside the host's own, with a libc in a root of its own.
std::vector<Needed> NeededFor(const ArchitectureTraits& traits, bool cross, Target target) {
  const std::string_view prefix = cross ? traits.cross_prefix : std::string_view();
  const std::string_view compiler = cross ? traits.compiler_package : std::string_view("gcc");
  std::vector<Needed> needed;
  for (std::string_view tool : {"gcc", "as", "ld"}) {
    needed.push_back({fmt::format("/usr/bin/{}{}", prefix, tool), std::string(compiler)});
  }
  if (target == Target::kKernel) return needed;
  std::string_view triplet = traits.cross_prefix;
  triplet.remove_suffix(1);
  needed.push_back(
      cross ? Needed{fmt::format("/usr/{}/lib/libc.a", triplet), std::string(traits.libc_package)}
            : Needed{fmt::format("/usr/lib/{}/libc.a", triplet), "libc6-dev"});
  return needed;
}

// What they are told apart by. `purpose` is for the message.
absl::StatusOr<std::string> IdentityOf(const std::vector<Needed>& all, std::string_view purpose) {
  std::string facts;
  for (const Needed& needed : all) {
    struct stat about = {};
    if (::stat(needed.path.c_str(), &about) != 0) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kMissingTool,
                       fmt::format("the build host has no {}, which {} needs: ask its admin to "
                                   "install the package {}",
                                   needed.path, purpose, needed.package),
                       {{"tool", needed.path}, {"package", needed.package}});
    }
    facts += fmt::format("{} {} {} {}\n", needed.path, about.st_ino, about.st_size,
                         about.st_mtim.tv_sec);
  }
  return Sha256Hex(facts).substr(0, 16);
}

}  // namespace

absl::StatusOr<Toolchain> FindToolchain(Architecture architecture, Target target) {
  const ArchitectureTraits& traits = TraitsOf(architecture);
  const bool cross = architecture != HostArchitecture();
  Toolchain toolchain;
  KDBG_ASSIGN_OR_RETURN(
      toolchain.identity,
      IdentityOf(NeededFor(traits, cross, target),
                 fmt::format("a {} for {}", target == Target::kKernel ? "kernel" : "program",
                             traits.name)));
  if (cross) toolchain.cross_prefix = traits.cross_prefix;
  toolchain.compiler = toolchain.cross_prefix + "gcc";
  toolchain.host_compiler = "gcc";
  return toolchain;
}

absl::StatusOr<Toolchain> FindLlvm(Architecture architecture, std::string_view version) {
  std::vector<Needed> needed;
  for (const auto& [tool, package] :
       {std::pair("clang", "clang"), std::pair("ld.lld", "lld"), std::pair("llvm-ar", "llvm"),
        std::pair("llvm-nm", "llvm"), std::pair("llvm-objcopy", "llvm")}) {
    needed.push_back(
        {fmt::format("/usr/bin/{}{}", tool, version), fmt::format("{}{}", package, version)});
  }
  Toolchain toolchain;
  KDBG_ASSIGN_OR_RETURN(toolchain.identity, IdentityOf(needed, "LLVM"));
  if (architecture != HostArchitecture()) {
    toolchain.cross_prefix = TraitsOf(architecture).cross_prefix;
  }
  toolchain.compiler = fmt::format("clang{}", version);
  toolchain.host_compiler = toolchain.compiler;
  return toolchain;
}

}  // namespace kdbg::build
