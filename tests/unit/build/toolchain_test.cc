#include "server/build/toolchain.h"

#include <gtest/gtest.h>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

TEST(ToolchainTest, TheHostsOwnNeedsNoPrefixAndAProgramAlsoALibc) {
  const auto kernel = FindToolchain(HostArchitecture(), Target::kKernel);
  const auto program = FindToolchain(HostArchitecture(), Target::kProgram);
  ASSERT_TRUE(kernel.ok()) << kernel.status();
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ(kernel->cross_prefix, "");
  EXPECT_EQ(kernel->compiler, "gcc");
  EXPECT_NE(kernel->identity, program->identity);
}

TEST(ToolchainTest, AnotherArchitecturesIsItsOwnOrIsNamedWithItsPackage) {
  const bool on_arm64 = HostArchitecture() == Architecture::kArm64;
  const ArchitectureTraits& other =
      TraitsOf(on_arm64 ? Architecture::kX86_64 : Architecture::kArm64);
  const auto found = FindToolchain(other.architecture, Target::kKernel);
  if (found.ok()) {
    EXPECT_EQ(found->compiler, std::string(other.cross_prefix) + "gcc");
    EXPECT_EQ(found->host_compiler, "gcc");
    return;
  }
  EXPECT_TRUE(HasReason(found.status(), Reason::kMissingTool));
  EXPECT_EQ(GetErrorDetail(found.status())->metadata.at("package"), other.compiler_package);
}

TEST(ToolchainTest, AnLlvmThatIsNotInstalledIsNamedWithItsPackage) {
  const auto found = FindLlvm(HostArchitecture(), "-99");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(found.status())->metadata.at("tool"), "/usr/bin/clang-99");
  EXPECT_EQ(GetErrorDetail(found.status())->metadata.at("package"), "clang-99");
}

}  // namespace
}  // namespace kdbg::build
