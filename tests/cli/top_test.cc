// What goes on at the server, on a terminal and off it.
#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using google::protobuf::util::TimeUtil;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class TopTest : public CliTest {
 protected:
  TopTest() {
    v1::Activity& activity = state().activity;
    activity.set_builds_running(1);
    activity.set_builds_queued(1);
    v1::Build* queued = activity.add_builds();
    *queued = MakeBuild("b-waits", v1::Build::QUEUED);
    queued->set_owner("bob");
    queued->mutable_progress()->set_queue_position(1);
    v1::Build* running = activity.add_builds();
    *running = MakeBuild("b-runs", v1::Build::RUNNING);
    running->set_owner("alice");
    running->set_display_name("a-kernel-with-a-name-of-sixty-characters-that-nobody-would-type");
    running->mutable_progress()->set_phase(v1::BuildProgress::COMPILING);
    running->mutable_progress()->set_steps_done(812);
    running->mutable_progress()->set_steps_expected(2310);
    *running->mutable_progress()->mutable_time_left() = TimeUtil::SecondsToDuration(80);
    v1::Session* session = activity.add_sessions();
    session->set_name("sessions/vm-1");
    session->set_owner("alice");
    session->set_state(v1::Session::READY);
    session->set_run_state(v1::Session::HALTED);
    session->mutable_gdb()->set_holder("user alice");
    *session->mutable_expire_time() =
        TimeUtil::SecondsToTimestamp(absl::ToUnixSeconds(absl::Now()) + 3 * 3600 + 60);
  }

  Subprocess Top(const Terminal& terminal) {
    std::erase(environment_, "TERM=dumb");
    environment_.push_back("TERM=xterm");
    return Start({"top"}, {{0, terminal.slave()}, {1, terminal.slave()}, {2, terminal.slave()}});
  }
};

TEST_F(TopTest, OffATerminalItIsOnePlainShotOf80Columns) {
  const CliResult result = Run({"top"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("builds: 1 running, 1 queued; sessions: 1 "));
  EXPECT_THAT(result.out, ContainsRegex("b-runs +alice +a-kernel-w\\+ +compiling .*812/2310, "
                                        "1m20s left"));
  EXPECT_THAT(result.out, ContainsRegex("b-waits +bob .*queued .*place 1"));
  EXPECT_THAT(result.out, ContainsRegex("vm-1 +alice +ready +3h +halted, gdb: user alice"));
  EXPECT_LT(result.out.find("b-runs"), result.out.find("b-waits")) << "what runs comes first";
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b")));
  for (const absl::string_view line : absl::StrSplit(result.out, '\n')) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST_F(TopTest, AServerThatDoesNothingIsOneLine) {
  state().activity.Clear();
  EXPECT_THAT(Run({"top"}).out, testing::StartsWith("builds: 0 running, 0 queued; sessions: 0 "));
}

TEST_F(TopTest, InJsonItIsTheDocument) {
  EXPECT_THAT(Run({"top", "-o", "json"}).out,
              AllOf(HasSubstr("\"buildsRunning\": 1"), HasSubstr("\"name\": \"sessions/vm-1\"")));
  EXPECT_THAT(Run({"top", "-o", "name"}).out, HasSubstr("sessions/vm-1\n"));
}

TEST_F(TopTest, OnATerminalItFollowsUntilQAndGivesTheTerminalBack) {
  Terminal terminal;
  terminal.Resize(80, 24);
  Subprocess process = Top(terminal);
  EXPECT_THAT(terminal.ReadUntil("gdb: user alice"), HasSubstr("\x1b[?1049h"));
  EXPECT_TRUE(terminal.IsRaw());
  {
    absl::MutexLock lock(&state().mutex);
    state().activity.mutable_builds(1)->mutable_progress()->set_steps_done(900);
    state().activity_changed = true;
  }
  terminal.ReadUntil("900/2310");
  terminal.Type("q");
  terminal.ReadUntil("\x1b[?1049l");
  EXPECT_EQ(process.Wait().code, 0);
  EXPECT_FALSE(terminal.IsRaw());
}

TEST_F(TopTest, CtrlCLeavesAsWell) {
  Terminal terminal;
  terminal.Resize(80, 24);
  Subprocess process = Top(terminal);
  terminal.ReadUntil("gdb: user alice");
  terminal.Type("\x03");
  terminal.ReadUntil("\x1b[?1049l");
  EXPECT_EQ(process.Wait().code, 0);
  EXPECT_FALSE(terminal.IsRaw());
}

TEST_F(TopTest, AScreenThatIsTooSmallSaysHowMuchItLeavesOut) {
  Terminal terminal;
  terminal.Resize(40, 4);
  Subprocess process = Top(terminal);
  const std::string screen = terminal.ReadUntil("lines more");
  EXPECT_THAT(screen, HasSubstr("... and 5 lines more"));
  EXPECT_THAT(screen, Not(HasSubstr("2310")));
  terminal.Type("q");
  terminal.ReadUntil("\x1b[?1049l");
  EXPECT_EQ(process.Wait().code, 0);
}

}  // namespace
}  // namespace kdbg::test
