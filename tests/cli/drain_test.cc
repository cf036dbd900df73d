// Draining from the admin's side.
#include <gmock/gmock.h>

#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::HasSubstr;

class DrainCommandTest : public CliTest {
 protected:
  DrainCommandTest() {
    v1::DrainReport& report = state().drain_report;
    report.set_draining(true);
    v1::Build& build = *report.add_builds();
    build = MakeBuild("b-1", v1::Build::RUNNING);
    build.set_owner("alice");
    state().builds[build.name()] = build;
    v1::Session& session = *report.add_sessions();
    session.set_name("sessions/s-7");
    session.set_owner("bob");
    session.set_state(v1::Session::READY);
  }
};

TEST_F(DrainCommandTest, SaysWhomItConcerns) {
  const CliResult drain = Run({"drain", "--reason", "new kernel", "--requeue"});
  EXPECT_EQ(drain.exit_code, 0) << drain.err;
  EXPECT_THAT(drain.out, HasSubstr("builds/b-1"));
  EXPECT_THAT(drain.out, HasSubstr("alice"));
  EXPECT_THAT(drain.out, HasSubstr("sessions/s-7"));
  EXPECT_THAT(drain.err,
              HasSubstr("takes nothing new; it has 1 builds and 1 sessions of 2 owners"));
  EXPECT_EQ(state().drained.reason(), "new kernel");
  EXPECT_EQ(state().drained.running(), v1::DrainRequest::REQUEUE);
  EXPECT_EQ(Run({"drain", "-o", "name"}).out, "builds/b-1\nsessions/s-7\n");
}

TEST_F(DrainCommandTest, WaitsForTheBuildsThatRun) {
  v1::Build done = MakeBuild("b-1", v1::Build::SUCCEEDED);
  state().watch_steps = {MakeBuild("b-1", v1::Build::RUNNING), done};
  const CliResult drain = Run({"drain", "--wait"});
  EXPECT_EQ(drain.exit_code, 0) << drain.err;
  EXPECT_THAT(drain.err, HasSubstr("no build is left"));
  EXPECT_EQ(state().drained.running(), v1::DrainRequest::FINISH);
}

TEST_F(DrainCommandTest, WaitingForWhatIsHeldIsRefused) {
  EXPECT_EQ(Run({"drain", "--wait", "--requeue"}).exit_code, 2);
}

}  // namespace
}  // namespace kdbg::test
