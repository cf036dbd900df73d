#include "server/gdb/packet_filter.h"

#include <gtest/gtest.h>

#include <string_view>

namespace kdbg::gdb {
namespace {

using namespace std::string_view_literals;

TEST(PacketFilter, JudgesWhatGdbSends) {
  struct Case {
    std::string_view payload;
    Verdict verdict;
  };
  const Case cases[] = {
      {"?", Verdict::kForward},
      {"g", Verdict::kForward},
      {"mffffffff81000000,40", Verdict::kForward},
      {"Z0,ffffffff81000000,1", Verdict::kForward},
      {"Hgp1.1", Verdict::kForward},
      {"qXfer:features:read:target.xml:0,ffb", Verdict::kForward},
      {"vCont?", Verdict::kForward},
      {"vCont;s:1;c", Verdict::kResume},
      {"c", Verdict::kResume},
      {"bc", Verdict::kResume},
      {"qSupported:multiprocess+", Verdict::kFeatures},
      {"QStartNoAckMode", Verdict::kStopAcks},
      {"qRcmd,696e666f", Verdict::kMonitor},
      {"D", Verdict::kDetach},
      {"D;1", Verdict::kDetach},
      {"k", Verdict::kKill},
      {"vKill;a410", Verdict::kKillWithReply},
  };
  for (const Case& c : cases) EXPECT_EQ(JudgePacket(c.payload), c.verdict) << c.payload;
}

TEST(PacketFilter, RefusesWhatIsNotListedOrNotText) {
  for (const std::string_view payload : {""sv,
                                         "!"sv,
                                         "R00"sv,
                                         "r"sv,
                                         "vRun;"sv,
                                         "vAttach;1"sv,
                                         "vFile:open:2f,0,0"sv,
                                         "F-1,1"sv,
                                         "X0,1:a"sv,
                                         "i"sv,
                                         "qRcmd"sv,
                                         "qrcmd,00"sv,
                                         "Qqemu.sstep=7"sv,
                                         "QNonStop:1"sv,
                                         "kill"sv,
                                         "g\0"sv,
                                         "m0,4\0k"sv,
                                         "qC\n"sv,
                                         "\xff"sv,
                                         "B"sv,
                                         "vKill"sv,
                                         "Da"sv}) {
    EXPECT_EQ(JudgePacket(payload), Verdict::kRefuse) << payload;
  }
}

}  // namespace
}  // namespace kdbg::gdb
