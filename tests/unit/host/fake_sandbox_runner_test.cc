#include "tests/support/fake_sandbox_runner.h"

#include <gtest/gtest.h>

namespace kdbg::host {
namespace {

TEST(FakeSandboxRunnerTest, FindsTheHostPathOfWhatACommandLeaves) {
  Sandbox sandbox;
  sandbox.binds = {{"/s/source", "/src", Access::kReadOnly}, {"/s/b", "/build", Access::kWritable}};
  EXPECT_EQ(FakeSandboxRunner::HostPath(sandbox, "/build/vmlinux"), "/s/b/vmlinux");
  EXPECT_EQ(FakeSandboxRunner::HostPath(sandbox, "/builds/vmlinux"), "");
}

TEST(FakeSandboxRunnerTest, ARunThatWaitsEndsByCancel) {
  FakeSandboxRunner runner;
  FakeSandboxRunner::Script script;
  script.until_cancelled = true;
  runner.Expect(script);
  auto run = runner.Start({}, -1, -1, -1);
  ASSERT_TRUE(run.ok());
  (*run)->Cancel();
  EXPECT_EQ(EndCauseName((*run)->Wait().cause), "cancelled");
  EXPECT_EQ(runner.started().size(), 1U);
}

}  // namespace
}  // namespace kdbg::host
