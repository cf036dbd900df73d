// gdb's `monitor reset` and `monitor pause`, with machines that exist only as records.
#include "proto/contract/error.h"
#include "proto/rsp/hex.h"
#include "tests/support/gdb_client.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class AskedByGdbTest : public SessionsTest {
 protected:
  std::string Monitor(gdb::GdbClient& client, const std::string& command) {
    client.Send("qRcmd," + rsp::HexEncode(command));
    std::string output;
    while (true) {
      const std::string packet = client.Read().value_or("(end)");
      if (packet[0] != 'O' || packet == "OK") return output + packet;
      output += rsp::HexDecode(packet.substr(1)).value_or("");
    }
  }
};

TEST_F(AskedByGdbTest, GdbStaysAndIsAtTheStopPointOfTheNextBoot) {
  const std::string id = CreateReady();
  const std::shared_ptr<FakeStub> before = StubOf(id);
  gdb::GdbClient client(sessions_->Get(id)->gdb_port);
  client.Attach();
  EXPECT_EQ(client.Ask("Z1,ffffffff81000200,1"), "OK");
  Await(id, [](const SessionRecord& record) { return !record.gdb_holder.empty(); });
  const absl::Status refused = sessions_->Reset(id).status();
  EXPECT_THAT(refused.message(), HasSubstr("say `monitor reset` there"));
  EXPECT_THAT(Monitor(client, "reset"),
              AllOf(HasSubstr("it stands at start_kernel\n"),
                    HasSubstr("maintenance flush register-cache"), ::testing::EndsWith("OK")));
  const SessionRecord ready = AwaitState(id, SessionState::kReady);
  EXPECT_EQ(ready.stopped_at, "start_kernel");
  EXPECT_EQ(ready.gdb_holder, client.name());
  const std::shared_ptr<FakeStub> after = StubOf(id);
  EXPECT_NE(after, before);
  EXPECT_THAT(after->breakpoints(), ::testing::ElementsAre("1,ffffffff81000200,1"));
  EXPECT_EQ(client.Ask("D"), "OK");
  EXPECT_TRUE(after->WaitRunning(true));
  EXPECT_EQ(Await(id, [](const SessionRecord& record) { return record.gdb_holder.empty(); }).state,
            SessionState::kReady);
}

TEST_F(AskedByGdbTest, ItBringsACrashedGuestBackUnderGdb) {
  const std::string id = CreateReady();
  gdb::GdbClient client(sessions_->Get(id)->gdb_port);
  client.Attach();
  hypervisor_.Panic("kdbg-" + id);
  AwaitState(id, SessionState::kCrashed);
  EXPECT_THAT(Monitor(client, "reset"), HasSubstr("it stands at start_kernel"));
  EXPECT_FALSE(AwaitState(id, SessionState::kReady).failure.has_value());
}

TEST_F(AskedByGdbTest, GdbHearsWhyThereIsNoNextBoot) {
  const std::string id = CreateReady();
  gdb::GdbClient client(sessions_->Get(id)->gdb_port);
  client.Attach();
  hypervisor_.FailWith(
      MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable, "libvirt is away"));
  EXPECT_THAT(Monitor(client, "reset"), HasSubstr("not there: libvirt is away\n"));
  EXPECT_EQ(AwaitState(id, SessionState::kFailed).failure->reason, "HYPERVISOR_UNAVAILABLE");
  EXPECT_EQ(client.Ask("g"), "(end)");
}

TEST_F(AskedByGdbTest, AGdbThatIsGoneByThenHoldsNothing) {
  const std::string id = CreateReady();
  const std::shared_ptr<FakeStub> before = StubOf(id);
  {
    gdb::GdbClient client(sessions_->Get(id)->gdb_port);
    client.Attach();
    client.Send("qRcmd," + rsp::HexEncode("reset"));
  }
  Await(id, [&](const SessionRecord& record) {
    return StubOf(id) != before && record.state == SessionState::kReady &&
           record.gdb_holder.empty();
  });
  gdb::GdbClient next(sessions_->Get(id)->gdb_port);
  EXPECT_THAT(next.Attach(), HasSubstr("PacketSize"));
}

TEST_F(AskedByGdbTest, PausedItStaysHaltedWhenGdbLeavesAndTheNextGdbHasToSaySoAgain) {
  const std::string id = CreateReady();
  const std::shared_ptr<FakeStub> stub = StubOf(id);
  const auto left = [](const SessionRecord& record) { return record.gdb_holder.empty(); };
  {
    gdb::GdbClient client(sessions_->Get(id)->gdb_port);
    client.Attach();
    Await(id, [](const SessionRecord& record) { return !record.gdb_holder.empty(); });
    EXPECT_THAT(Monitor(client, "pause"), HasSubstr("kdbgctl session resume " + id));
    EXPECT_EQ(client.Ask("D"), "OK");
  }
  EXPECT_EQ(Await(id, left).run_state, RunState::kHalted);
  {
    gdb::GdbClient client(sessions_->Get(id)->gdb_port);
    client.Attach();
    EXPECT_EQ(client.Ask("D"), "OK");
  }
  EXPECT_TRUE(stub->WaitRunning(true));
}

}  // namespace
}  // namespace kdbg::session
