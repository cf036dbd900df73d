// What a far gdb asks and hears. SameAnswers compares with a gdb at the raw port.
#include "client/accel/accelerator.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/rsp/hex.h"
#include "tests/unit/accel/far_gdb.h"

namespace kdbg {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class AcceleratorTest : public ::testing::Test {
 protected:
  SimulatedGuest& guest() { return here_.guest(); }
  static std::string Memory(std::uint64_t address, std::size_t size) {
    return fmt::format("m{:x},{:x}", address, size);
  }

  GuestAndDoor here_{SimulatedGuest::Breakpoints::kInvisible};
  FarGdb gdb_{here_.door()};
};

TEST_F(AcceleratorTest, AttachingTakesOneRoundTrip) {
  EXPECT_THAT(gdb_.Ask("qSupported:multiprocess+;swbreak+;xmlRegisters=i386"),
              StartsWith("QStartNoAckMode+;PacketSize=1000"));
  const char* questions[] = {
      "vMustReplyEmpty", "!",      "Hg0",          "qXfer:features:read:target.xml:0,ffb",
      "qTStatus",        "?",      "qfThreadInfo", "qXfer:features:read:cpu.xml:0,ffb",
      "qsThreadInfo",    "Hc-1",   "qC",           "qXfer:features:read:cpu.xml:ffb,ffb",
      "qAttached",       "vCont?", "qOffsets",     "g",
      "qSymbol::"};
  for (const char* question : questions) {
    SCOPED_TRACE(question);
    gdb_.Ask(question);
  }
  EXPECT_EQ(gdb_.round_trips(), 1u);
  EXPECT_EQ(gdb_.Ask("vCont?"), "vCont;c;C;s;S;r");
  EXPECT_EQ(gdb_.Ask("qfThreadInfo"), "m01,02") << "both at once";
}

TEST_F(AcceleratorTest, AcknowledgesHereWhateverTheServerDoes) {
  gdb_.Ask("g");
  gdb_.SendRaw("$g#00");
  gdb_.SendRaw("-");
  EXPECT_EQ(gdb_.acks(), "+-");
  EXPECT_EQ(gdb_.Read(), gdb_.Ask("g")) << "sent again after a NAK";
  gdb_.StopAcks();
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.acks(), "+-++");
}

TEST_F(AcceleratorTest, AStopBringsRegistersCodeAndStackAlong) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.Ask("vCont;s:1"), "T05thread:01;");
  const std::uint64_t asked = gdb_.round_trips();
  gdb_.Ask("g");
  gdb_.Ask(Memory(SimulatedGuest::kCode, 64));
  gdb_.Ask(Memory(SimulatedGuest::kStack, 128));
  gdb_.Ask("qC");
  gdb_.Ask("Hg1");
  EXPECT_EQ(gdb_.round_trips(), asked);
}

TEST_F(AcceleratorTest, APageIsFetchedOnce) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.RoundTripsOf("mffff888000200010,8"), 1u);
  EXPECT_EQ(gdb_.RoundTripsOf("mffff888000200ff0,10"), 0u);
  EXPECT_EQ(gdb_.RoundTripsOf("mffff888000200ff0,20"), 0u) << "the next came with it";
  EXPECT_EQ(gdb_.RoundTripsOf("mffff888000201ff0,20"), 1u) << "reaches beyond";
}

TEST_F(AcceleratorTest, DeviceMemoryIsReadAsOftenAsAskedAndNoMore) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kDevice, 1)), "01");
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kDevice, 1)), "02");
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kDevice + 8, 2)), "0304");
  // Neither as the neighbour of something read nor in the course of a buffer.
  for (std::uint64_t before = 0x4000; before != 0; before -= 0x800) {
    gdb_.Ask(Memory(SimulatedGuest::kDevice - before, 0x800));
  }
  gdb_.Ask(Memory(SimulatedGuest::kAfterDevice, 0x800));
  EXPECT_EQ(guest().device_reads(), 4u);
}

TEST_F(AcceleratorTest, NothingIsFetchedFromWhereThereIsNothing) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kHole, 8)), "E14");
  EXPECT_EQ(gdb_.RoundTripsOf(Memory(SimulatedGuest::kHole + 8, 1)), 0u) << "nothing there, either";
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kHole - 8, 16)), "E14") << "half of it exists";
  const std::string last = gdb_.Ask(Memory(SimulatedGuest::kHole - 8, 8));
  EXPECT_EQ(last.size(), 16u);
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kHole - 8, 16)), "E14") << "known half or not";
  EXPECT_EQ(gdb_.Ask("mffff888000200000,801"), "E22") << "as much as the stub gives, not more";
  EXPECT_EQ(gdb_.Ask("mffffffffffffffff,8"), "E14");
}

TEST_F(AcceleratorTest, WhatIsWrittenIsReadBack) {
  gdb_.Ask("g");
  gdb_.Ask("mffff888000200000,8");
  EXPECT_EQ(gdb_.Ask("Mffff888000200000,2:beef"), "OK");
  EXPECT_EQ(gdb_.Ask("mffff888000200000,2"), "beef");
  EXPECT_EQ(gdb_.Ask("P0=1122334455667788"), "OK");
  EXPECT_THAT(gdb_.Ask("g"), StartsWith("1122334455667788"));
}

TEST_F(AcceleratorTest, AStepChangesWhatIsRead) {
  gdb_.Ask("g");
  const std::string slot = Memory(SimulatedGuest::kStack + 8, 8);
  gdb_.Ask(slot);
  gdb_.Ask("vCont;s:1");
  EXPECT_EQ(gdb_.Ask(slot), "0100000000000000");
  EXPECT_THAT(gdb_.Ask("g"), StartsWith("0100000000000000"));
}

TEST_F(AcceleratorTest, ARangeStepIsOneRoundTrip) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.RoundTripsOf("vCont;rffffffff81000000,ffffffff81000040:1"), 1u);
  EXPECT_EQ(guest().steps(), 16u);
}

TEST_F(AcceleratorTest, AWatchpointStopsAndIsTold) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.Ask(fmt::format("Z2,{:x},8", SimulatedGuest::kStack + 24)), "OK");
  EXPECT_THAT(gdb_.Ask("vCont;c"),
              HasSubstr(fmt::format("watch:{:x}", SimulatedGuest::kStack + 24)));
  EXPECT_EQ(guest().steps(), 3u);
}

TEST_F(AcceleratorTest, BreakpointsGoOutAndInAgainWithoutARoundTrip) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.RoundTripsOf("Z0,ffffffff81000010,1"), 1u);
  EXPECT_EQ(gdb_.RoundTripsOf("Z0,ffffffff81000020,1"), 1u);
  gdb_.Ask("vCont;c");
  EXPECT_EQ(guest().steps(), 4u);
  const std::uint64_t asked = gdb_.round_trips();
  EXPECT_EQ(gdb_.Ask("z0,ffffffff81000010,1"), "OK");
  EXPECT_EQ(gdb_.Ask("z0,ffffffff81000020,1"), "OK");
  EXPECT_EQ(gdb_.Ask("Z0,ffffffff81000020,1"), "OK");
  EXPECT_EQ(gdb_.round_trips(), asked);
  gdb_.Ask("vCont;c");
  EXPECT_EQ(guest().steps(), 8u) << "the second is in";
  gdb_.Ask("z0,ffffffff81000020,1");
  EXPECT_EQ(gdb_.Ask("z0,ffffffff81000020,1"), "E22") << "out already, as the stub says it";
  EXPECT_EQ(gdb_.Ask("z0,ffffffff81000010,1"), "E22");
  gdb_.Ask("vCont;c");
  EXPECT_EQ(guest().steps(), 208u) << "both are out";
}

TEST(Accelerator, BreakpointsInMemoryAreNeverSeen) {
  GuestAndDoor here(SimulatedGuest::Breakpoints::kInMemory);
  FarGdb gdb(here.door());
  const std::string before = gdb.Ask("mffffffff81000010,8");
  EXPECT_EQ(gdb.Ask("Z0,ffffffff81000010,1"), "OK");
  EXPECT_EQ(gdb.Ask("mffffffff81000010,8"), before);
  gdb.Ask("vCont;c");
  EXPECT_EQ(here.guest().steps(), 4u);
  EXPECT_EQ(gdb.Ask("mffffffff81000010,8"), before);
  EXPECT_EQ(gdb.Ask("z0,ffffffff81000010,1"), "OK");
  EXPECT_EQ(gdb.Ask("mffffffff81000010,8"), before);
  EXPECT_EQ(gdb.Ask(fmt::format("Z0,{:x},1", SimulatedGuest::kHole)), "E14");
}

TEST_F(AcceleratorTest, EachThreadHasItsOwnRegistersAndUserMemory) {
  const std::string first = gdb_.Ask("g");
  const std::string memory = gdb_.Ask("m400000,8");
  EXPECT_EQ(gdb_.RoundTripsOf("Hg2"), 1u);
  EXPECT_EQ(gdb_.RoundTripsOf("g"), 0u);
  EXPECT_NE(gdb_.Ask("g"), first);
  EXPECT_NE(gdb_.Ask("m400000,8"), memory);
  EXPECT_EQ(gdb_.Ask("Hg1"), "OK");
  EXPECT_EQ(gdb_.Ask("g"), first);
  EXPECT_EQ(gdb_.Ask("m400000,8"), memory);
  EXPECT_EQ(gdb_.Ask("Hg7"), "E22");
  EXPECT_EQ(gdb_.Ask("g"), first);
}

TEST_F(AcceleratorTest, PhysicalMemoryIsAnotherMemory) {
  gdb_.Ask("g");
  const std::string virtual_memory = gdb_.Ask("m400000,8");
  EXPECT_EQ(gdb_.Ask("Qqemu.PhyMemMode:1"), "OK");
  EXPECT_NE(gdb_.Ask("m400000,8"), virtual_memory);
  EXPECT_EQ(gdb_.Ask("Qqemu.PhyMemMode:0"), "OK");
  EXPECT_EQ(gdb_.Ask("m400000,8"), virtual_memory);
}

TEST_F(AcceleratorTest, AGuestThatRunsCanBeInterruptedAndHearsNothingElse) {
  gdb_.Ask("g");
  guest().RunForever(true);
  gdb_.Send("vCont;c");
  gdb_.Send("mffff888000200000,8");
  ASSERT_TRUE(here_.stub().WaitRunning(true));
  gdb_.SendRaw("\x03");
  EXPECT_EQ(gdb_.Read(), "T02thread:01;");
  EXPECT_EQ(here_.stub().stray_bytes(), 0);
  EXPECT_EQ(gdb_.Ask("mffff888000200000,8").size(), 16u) << "the first was for a running guest";
  EXPECT_EQ(gdb_.Ask("D"), "OK");
}

TEST_F(AcceleratorTest, AnswersOfOneWhoDoesNotWaitComeInOrder) {
  const std::string registers = gdb_.Ask("g");
  gdb_.SendRaw(rsp::Encode("mffff888000200000,1") + rsp::Encode("g") + rsp::Encode("vCont;s:1") +
               "");
  EXPECT_EQ(gdb_.Read()->size(), 2u);
  EXPECT_EQ(gdb_.Read(), registers);
  EXPECT_EQ(gdb_.Read(), "T05thread:01;");
}

TEST_F(AcceleratorTest, MonitorPrintsBeforeItAnswers) {
  gdb_.Ask("g");
  EXPECT_EQ(gdb_.Ask("qRcmd," + rsp::HexEncode("info")), "O" + rsp::HexEncode("monitor info\n"));
  EXPECT_EQ(gdb_.Read(), "OK");
  EXPECT_EQ(gdb_.RoundTripsOf("g"), 0u);
}

TEST_F(AcceleratorTest, AListIsWalkedAhead) {
  constexpr int kTasks = 200;
  const auto task = [](int number) {
    return 0xffff888000400000 + static_cast<std::uint64_t>(number * 7919 % kTasks) * 2880;
  };
  for (int i = 0; i < kTasks; ++i) {
    guest().WritePointer(task(i) + 0x2b0, task((i + 1) % kTasks) + 0x2b0);
  }
  gdb_.Ask("g");
  const std::uint64_t before = gdb_.round_trips();
  std::uint64_t at = task(0);
  for (int i = 0; i < kTasks; ++i) {
    gdb_.Ask(Memory(at + 0x390, 4));
    gdb_.Ask(Memory(at + 0x578, 16));
    gdb_.Ask(Memory(at + 0x438, 8));
    at = rsp::ParseRegister(gdb_.Ask(Memory(at + 0x2b0, 8))).value_or(0) - 0x2b0;
  }
  EXPECT_EQ(at, task(0));
  EXPECT_LE(gdb_.round_trips() - before, 10u) << "of " << 4 * kTasks;
  EXPECT_LE(gdb_.bytes_received(), 1u << 20);
}

TEST_F(AcceleratorTest, BuffersAreReadAheadAlsoSeveralAtATime) {
  gdb_.Ask("g");
  const std::uint64_t before = gdb_.round_trips();
  for (std::uint64_t i = 0; i < 4096; ++i) {
    gdb_.Ask(Memory(0xffffffff82000000 + 88 * i, 88));
    gdb_.Ask(Memory(0xffffffff83000000 + 24 * i, 24));
    gdb_.Ask(Memory(0xffffffff84000000 + 48 * i, 40));
  }
  EXPECT_LE(gdb_.round_trips() - before, 20u) << "of 12288";
  const std::uint64_t bulk = gdb_.round_trips();
  for (std::uint64_t i = 0; i < 100; ++i) gdb_.Ask(Memory(0xffffffff85000000 + 2048 * i, 2048));
  EXPECT_LE(gdb_.round_trips() - bulk, 4u) << "of 100";
}

TEST_F(AcceleratorTest, TheNextOneFindsTheGuestCleanAfterOneThatVanished) {
  gdb_.Ask("Z0,ffffffff81000010,1");
  guest().RunForever(true);
  gdb_.Send("vCont;c");
  ASSERT_TRUE(here_.stub().WaitRunning(true));
  gdb_.Vanish();
  guest().RunForever(false);
  FarGdb next(here_.door());
  EXPECT_THAT(next.Ask("qSupported"), StartsWith("QStart"));
  EXPECT_EQ(next.Ask("z0,ffffffff81000010,1"), "E22");
  EXPECT_EQ(next.Ask("vCont;s:1"), "T05thread:01;");
}

TEST_F(AcceleratorTest, QemuKilledLooksLikeTheEndOfTheProgram) {
  gdb_.Ask("g");
  guest().RunForever(true);
  gdb_.Send("vCont;c");
  ASSERT_TRUE(here_.stub().WaitRunning(true));
  here_.stub().Die();
  EXPECT_EQ(gdb_.Read(), "X09");
}

TEST_F(AcceleratorTest, AtAnotherGuestNothingOfTheOneBeforeIsBelieved) {
  SimulatedGuest another;
  another.Write(SimulatedGuest::kStack, "another!");
  TempSocket socket;
  FakeStub stub(socket.path());
  stub.SetGuest(&another);
  auto link = gdb::StubLink::Connect(here_.io_thread(), socket.path(), gdb::CpuState::kHalted);
  ASSERT_TRUE(link.ok()) << link.status();
  const std::string breakpoint = fmt::format("Z0,{:x},1", SimulatedGuest::kCode + 0x20);
  EXPECT_EQ(gdb_.Ask(breakpoint), "OK");
  EXPECT_EQ(gdb_.Ask("vCont;s:1"), "T05thread:01;");
  const std::string stepped = gdb_.Ask("g");
  gdb_.Ask(Memory(SimulatedGuest::kStack, 8));
  gdb_.Send("qRcmd," + rsp::HexEncode("another guest"));
  here_.policy().WaitForQuestion();
  here_.door()->AnswerMonitor("moved\n", *std::move(link));
  EXPECT_EQ(gdb_.Read(), "O" + rsp::HexEncode("moved\n"));
  EXPECT_EQ(gdb_.Read(), "OK");
  EXPECT_NE(gdb_.Ask("g"), stepped);
  EXPECT_EQ(gdb_.Ask(Memory(SimulatedGuest::kStack, 8)), rsp::HexEncode("another!"));
  EXPECT_EQ(gdb_.Ask("vCont;c"), "T05thread:01;") << "at the breakpoint of before";
  EXPECT_THAT(stub.packets(), ::testing::Contains(breakpoint));
}

}  // namespace
}  // namespace kdbg
