#include "server/build/vmlinux_check.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

using ::testing::EndsWith;

UniqueFd Open(const char* path) { return UniqueFd(::open(path, O_RDONLY | O_CLOEXEC)); }

TEST(VmlinuxCheckTest, FindsStartKernelInTheLineTable) {
  const auto facts = CheckVmlinux(Open(KERNEL_WITH_DEBUG));
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->gnu_build_id.size(), 40u);
  EXPECT_THAT(facts->start_kernel_file, EndsWith("stand_in_kernel.c"));
  EXPECT_GT(facts->start_kernel_line, 0);
}

TEST(VmlinuxCheckTest, RefusesWhatGdbCouldNotUse) {
  for (const char* path : {KERNEL_WITHOUT_DEBUG, "/proc/self/exe", "/etc/passwd", "/dev/null"}) {
    const auto facts = CheckVmlinux(Open(path));
    EXPECT_TRUE(HasReason(facts.status(), Reason::kNoDebugInformation)) << path;
  }
}

TEST(VmlinuxCheckTest, KnowsAStaticProgram) {
  EXPECT_TRUE(CheckStaticProgram(Open(KERNEL_WITH_DEBUG)).ok());
  EXPECT_FALSE(CheckStaticProgram(Open("/bin/sh")).ok());
  EXPECT_FALSE(CheckStaticProgram(Open("/etc/passwd")).ok());
}

}  // namespace
}  // namespace kdbg::build
