#include "server/build/tool_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "proto/contract/error.h"
#include "tests/support/fake_sandbox_runner.h"

namespace kdbg::build {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ToolCheckTest : public ::testing::Test {
 protected:
  host::FakeSandboxRunner runner_;
  ToolCheck tools_{runner_, [] { return std::optional<host::Identity>(); }};
};

TEST_F(ToolCheckTest, RunsTheCacheInASandboxAsABuildWould) {
  tools_.Look();
  EXPECT_TRUE(tools_.sandbox().ok()) << tools_.sandbox();
  EXPECT_TRUE(tools_.compile_cache().ok()) << tools_.compile_cache();
  ASSERT_EQ(runner_.started().size(), 1u);
  EXPECT_THAT(runner_.started().front().argv, ElementsAre("ccache", "--version"));
}

TEST_F(ToolCheckTest, ACacheThatDoesNotRunIsSaidInItsOwnWords) {
  runner_.Expect({.error = "ccache: error while loading shared libraries: libzstd.so.1\n",
                  .result = {.status = {.code = 127},
                             .cause = host::EndCause::kExited,
                             .message = "",
                             .cpu_time = {}}});
  tools_.Look();
  EXPECT_TRUE(tools_.sandbox().ok());
  EXPECT_TRUE(HasReason(tools_.compile_cache(), Reason::kMissingTool)) << tools_.compile_cache();
  EXPECT_THAT(std::string(tools_.compile_cache().message()), HasSubstr("libzstd.so.1"));
  tools_.Look();
  EXPECT_TRUE(tools_.compile_cache().ok()) << "it was put right";
}

TEST_F(ToolCheckTest, WithoutASandboxNothingIsSaidOfTheCache) {
  runner_.FailStarts(
      MakeError(absl::StatusCode::kUnavailable, Reason::kRunnerUnavailable, "no runner answers"));
  tools_.Look();
  EXPECT_TRUE(HasReason(tools_.sandbox(), Reason::kRunnerUnavailable)) << tools_.sandbox();
  EXPECT_TRUE(tools_.compile_cache().ok());
}

TEST_F(ToolCheckTest, ASandboxThatCannotBePutTogetherIsNoSandbox) {
  runner_.Expect({.result = {.status = {.code = 1},
                             .cause = host::EndCause::kNotStarted,
                             .message = "bwrap: no permission",
                             .cpu_time = {}}});
  tools_.Look();
  EXPECT_THAT(std::string(tools_.sandbox().message()), HasSubstr("bwrap: no permission"));
}

}  // namespace
}  // namespace kdbg::build
