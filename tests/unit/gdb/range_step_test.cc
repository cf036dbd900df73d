#include "server/gdb/range_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "tests/support/fake_stub.h"
#include "tests/support/gdb_client.h"
#include "tests/support/simulated_guest.h"
#include "tests/support/temp_socket.h"

namespace kdbg::gdb {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(RangeStep, BecomesOneStepOfTheSameThread) {
  const auto step = ParseRangeStep("vCont;rffffffff81000000,ffffffff81000010:1;c:-1");
  ASSERT_TRUE(step);
  EXPECT_EQ(step->packet, "vCont;s:1;c:-1");
  EXPECT_TRUE(step->Contains(0xffffffff81000000));
  EXPECT_FALSE(step->Contains(0xffffffff81000010));
  EXPECT_EQ(ParseRangeStep("vCont;r10,20")->packet, "vCont;s");
}

TEST(RangeStep, OtherPacketsAreNone) {
  const char* packets[] = {"vCont;c",        "vCont;s:1",           "vCont;r",   "vCont;r10",
                           "vCont;r10,zz",   "vCont;r10,20;r30,40", "vContr1,2", "vCont",
                           "vCont;r10:1,20", "vCont;r,:1",          "r10,20",    ""};
  for (const char* packet : packets) EXPECT_FALSE(ParseRangeStep(packet)) << packet;
}

TEST(RangeStep, IsOfferedOnlyWithVcont) {
  EXPECT_EQ(WithRangeStep("vCont;c;C;s;S"), "vCont;c;C;s;S;r");
  EXPECT_EQ(WithRangeStep(""), "");
}

class OpenPolicy final : public ClientPolicy {
 public:
  absl::Status Admit(const Attachment&) override { return absl::OkStatus(); }
  void Attached(const Attachment&) override {}
  void Detached(const Attachment&) override {}
  std::optional<std::string> Monitor(std::string_view) override { return ""; }
};

class RangeStepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    stub_.SetGuest(&guest_);
    link_ = *StubLink::Connect(io_thread_, socket_.path(), CpuState::kHalted);
    door_ = *gateway_.Open(*ReservedPort::Bind("127.0.0.1", 0), link_, policy_);
    client_ = std::make_unique<GdbClient>(door_->port());
    client_->Attach();
  }

  SimulatedGuest guest_;
  TempSocket socket_;
  FakeStub stub_{socket_.path()};
  IoThread io_thread_;
  Gateway gateway_{io_thread_};
  OpenPolicy policy_;
  std::shared_ptr<StubLink> link_;
  std::unique_ptr<Door> door_;
  std::unique_ptr<GdbClient> client_;
};

TEST_F(RangeStepTest, StepsUntilOutsideTheRange) {
  EXPECT_THAT(client_->Ask("vCont?"), HasSubstr(";r"));
  EXPECT_EQ(client_->Ask("vCont;rffffffff81000000,ffffffff81000028:1"), "T05thread:01;");
  EXPECT_EQ(guest_.steps(), 10u);
  EXPECT_EQ(client_->Ask("p10"), "28000081ffffffff");
  EXPECT_EQ(client_->Ask("vCont;rffffffff81000000,ffffffff81000000:1"), "T05thread:01;");
  EXPECT_EQ(guest_.steps(), 11u) << "one step at least";
  EXPECT_THAT(stub_.packets(), Not(Contains(StartsWith("vCont;r"))));
}

TEST_F(RangeStepTest, EndsAtABreakpointWithinTheRange) {
  for (const char* kind : {"0", "1"}) {
    const std::uint64_t before = guest_.steps();
    EXPECT_EQ(client_->Ask(std::string("Z") + kind + ",ffffffff81000010,1"), "OK");
    client_->Ask("vCont;rffffffff81000000,ffffffff81000080:1");
    EXPECT_EQ(client_->Ask("p10"), "10000081ffffffff");
    EXPECT_EQ(client_->Ask(std::string("z") + kind + ",ffffffff81000010,1"), "OK");
    EXPECT_EQ(client_->Ask("P10=00000081ffffffff"), "OK");
    EXPECT_EQ(guest_.steps() - before, 4u);
  }
}

TEST_F(RangeStepTest, EndsWithAWatchpoint) {
  client_->Ask("Z2,ffff888000183e18,8");
  EXPECT_EQ(client_->Ask("vCont;rffffffff81000000,ffffffff81000080:1"),
            "T05thread:01;watch:ffff888000183e18;");
}

// The stub and the gateway share a thread with nobody else, so a loop that only ends by Ctrl-C must
// leave room for it.
TEST_F(RangeStepTest, CtrlCEndsAnEndlessOne) {
  client_->Send("vCont;rffffffff81000000,ffffffff81004000:1");
  ASSERT_TRUE(stub_.WaitForPacket("p10"));
  client_->SendRaw("\x03");
  EXPECT_EQ(client_->Read(), "T02thread:01;") << "a trap would make gdb step on";
  EXPECT_EQ(client_->Ask("mffff888000183e00,8").size(), 16u);
  EXPECT_EQ(stub_.stray_bytes(), 0);
}

TEST_F(RangeStepTest, AClientThatVanishesMeanwhileLeavesTheGuestRunning) {
  client_->Send("vCont;rffffffff81000000,ffffffff81004000:1");
  ASSERT_TRUE(stub_.WaitForPacket("p10"));
  guest_.RunForever(true);
  client_->Vanish();
  EXPECT_TRUE(stub_.WaitRunning(true));
}

}  // namespace
}  // namespace kdbg::gdb
