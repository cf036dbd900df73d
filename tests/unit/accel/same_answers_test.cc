// The differential test: what a gdb hears through the accelerator is what it hears at the raw port
// of a guest that was told the same.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/accel/far_gdb.h"

namespace kdbg {
namespace {

class SameAnswers : public ::testing::Test {
 protected:
  SameAnswers() {
    near_.Ask("qSupported");
    far_.Ask("qSupported");
  }

  void Ask(const std::string& packet) {
    std::string at_port = near_.Ask(packet);
    const std::string from_afar = far_.Ask(packet);
    // The stub lists one thread at a time, the gateway all.
    if (packet == "qfThreadInfo") {
      for (std::string more = near_.Ask("qsThreadInfo"); more != "l";
           more = near_.Ask("qsThreadInfo")) {
        at_port += "," + more.substr(1);
      }
    }
    if (packet == "qsThreadInfo") at_port = "l";
    ASSERT_EQ(from_afar, at_port) << packet;
    ++asked_;
  }

  void ExpectSameDevices() {
    EXPECT_EQ(behind_far_.guest().device_reads(), behind_near_.guest().device_reads())
        << "reading ahead has touched a device";
    EXPECT_EQ(behind_far_.guest().steps(), behind_near_.guest().steps());
  }

  GuestAndDoor behind_near_{SimulatedGuest::Breakpoints::kInvisible};
  GuestAndDoor behind_far_{SimulatedGuest::Breakpoints::kInvisible};
  gdb::GdbClient near_{behind_near_.door()->port()};
  FarGdb far_{behind_far_.door()};
  std::uint64_t asked_ = 0;
};

// Sessions of gdb 13 with a real guest, one packet in a line: attaching, breakpoints of all kinds,
// stepping, watching, writing, two CPUs, lx- commands, leaving.
TEST_F(SameAnswers, InRecordedSessions) {
  std::vector<std::filesystem::path> sessions;
  for (const auto& entry : std::filesystem::directory_iterator(KDBG_RECORDED)) {
    sessions.push_back(entry.path());
  }
  ASSERT_FALSE(sessions.empty());
  for (const auto& session : sessions) {
    SCOPED_TRACE(session.filename());
    std::ifstream file(session);
    std::string packet;
    while (std::getline(file, packet)) {
      if (packet[0] == 'D' || packet[0] == 'k' || packet.rfind("vKill", 0) == 0) break;
      ASSERT_NO_FATAL_FAILURE(Ask(packet));
    }
  }
  ExpectSameDevices();
  EXPECT_GT(asked_, 500u);
  EXPECT_LT(far_.round_trips() * 3, asked_);
}

class AnyPacket {
 public:
  explicit AnyPacket(unsigned seed) : random_(seed) {}

  std::string Next() {
    switch (Number(16)) {
      case 0:
        return fmt::format("vCont;s:{}", 1);
      case 1:
        return "vCont;c";
      case 2: {
        const std::uint64_t start = SimulatedGuest::kCode + 4 * Number(256);
        return fmt::format("vCont;r{:x},{:x}:1", start, start + 4 * Number(64));
      }
      case 3:
        return fmt::format("M{:x},2:{:04x}", Address(), Number(65536));
      case 4:
      case 5:
        return fmt::format("{}{},{:x},1", Number(2) ? "Z" : "z", Number(2),
                           SimulatedGuest::kCode + 4 * Number(16));
      case 6:
        return fmt::format("{}2,{:x},8", Number(2) ? "Z" : "z",
                           SimulatedGuest::kStack + 8 * Number(16));
      case 7:
        return fmt::format("Hg{}", Number(4));
      case 8:
        return fmt::format("P{:x}=0807060504030201", Number(16));
      case 9: {
        const char* questions[] = {"g",  "p10",          "qC",     "qfThreadInfo",       "T1",
                                   "T3", "qsThreadInfo", "vCont?", "qThreadExtraInfo,2", "?"};
        return questions[Number(std::size(questions))];
      }
      case 10:
        return Number(8) == 0 ? "Qqemu.PhyMemMode:1" : "Qqemu.PhyMemMode:0";
      default:
        return fmt::format("m{:x},{:x}", Address(), Number(4) == 0 ? Number(2100) : Number(64));
    }
  }

 private:
  std::uint64_t Number(std::uint64_t below) { return random_() % below; }
  std::uint64_t Address() {
    const std::uint64_t bases[] = {SimulatedGuest::kStack,
                                   SimulatedGuest::kCode,
                                   SimulatedGuest::kDevice,
                                   SimulatedGuest::kDevice - 0x100,
                                   SimulatedGuest::kHole - 0x200,
                                   SimulatedGuest::kAfterDevice,
                                   0xf00,
                                   0x400000,
                                   0xffffffffffffff00};
    return bases[Number(std::size(bases))] + Number(Number(2) ? 64 : 0x2000);
  }

  std::mt19937 random_;
};

class SameAnswersToAnything : public SameAnswers, public ::testing::WithParamInterface<unsigned> {};

TEST_P(SameAnswersToAnything, ASeedDecides) {
  AnyPacket any(GetParam());
  for (int i = 0; i < 1500; ++i) ASSERT_NO_FATAL_FAILURE(Ask(any.Next())) << i;
  ExpectSameDevices();
}

INSTANTIATE_TEST_SUITE_P(Seeds, SameAnswersToAnything, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace kdbg
