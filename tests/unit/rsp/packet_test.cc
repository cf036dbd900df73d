#include "proto/rsp/packet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace kdbg::rsp {
namespace {

using Kind = Event::Kind;
using ::testing::ElementsAre;

std::vector<Event> ParseAll(PacketParser& parser, std::string_view bytes) {
  std::vector<Event> events;
  while (auto event = parser.Next(bytes)) events.push_back(*event);
  return events;
}

std::vector<Event> ParseAll(std::string_view bytes, std::size_t limit = 4096) {
  PacketParser parser(limit);
  return ParseAll(parser, bytes);
}

MATCHER_P(Is, kind, "") { return arg.kind == kind; }
MATCHER_P(Packet, payload, "") { return arg.kind == Kind::kPacket && arg.payload == payload; }

std::string Frame(std::string_view raw) {  // with the right checksum, without escaping
  unsigned sum = 0;
  for (unsigned char byte : raw) sum += byte;
  char tail[4];
  std::snprintf(tail, sizeof tail, "#%02x", sum & 255);
  return "$" + std::string(raw) + tail;
}

TEST(PacketParser, ReadsPacketsAcksAndInterrupts) {
  EXPECT_THAT(
      ParseAll("+$OK#9a-\x03$#00"),
      ElementsAre(Is(Kind::kAck), Packet("OK"), Is(Kind::kNack), Is(Kind::kInterrupt), Packet("")));
}

TEST(PacketParser, DoesNotCareHowBytesAreCut) {
  const std::string bytes = "+" + Frame("m0,4") + "\x03" + Frame("a}\x03z*!") + "$bad#00";
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    SCOPED_TRACE(cut);
    PacketParser parser(4096);
    auto events = ParseAll(parser, std::string_view(bytes).substr(0, cut));
    for (auto& event : ParseAll(parser, std::string_view(bytes).substr(cut))) {
      events.push_back(event);
    }
    EXPECT_THAT(events, ElementsAre(Is(Kind::kAck), Packet("m0,4"), Is(Kind::kInterrupt),
                                    Packet("a#zzzzz"), Is(Kind::kMalformed)));
  }
}

TEST(PacketParser, AcceptsChecksumDigitsOfEitherCase) {
  EXPECT_THAT(ParseAll("$k#6b$k#6B"), ElementsAre(Packet("k"), Packet("k")));
}

TEST(PacketParser, KeepsBinaryPayloads) {
  std::string payload = "X0,100:";
  for (int i = 0; i < 256; ++i) payload.push_back(static_cast<char>(i));
  EXPECT_THAT(ParseAll(Encode(payload)), ElementsAre(Packet(payload)));
}

TEST(PacketParser, ReportsWhatIsWrongAndGoesOn) {
  struct Case {
    std::string bytes;
    Kind kind;
  };
  const Case cases[] = {
      {"$OK#00", Kind::kMalformed},        {"$OK#zz", Kind::kMalformed},
      {"$OK#9", Kind::kTruncated},  // the '$' of the packet after it comes where a digit should be
      {"$OK#", Kind::kTruncated},          {"$O", Kind::kTruncated},
      {"$O}", Kind::kTruncated},           {Frame("a}"), Kind::kMalformed},
      {Frame("a*"), Kind::kMalformed},     {Frame("*!"), Kind::kMalformed},  // nothing to repeat
      {Frame("a*\x1f"), Kind::kMalformed}, {Frame("a*\x7f"), Kind::kMalformed},
      {Frame("a*\xff"), Kind::kMalformed}, {Frame(std::string(65, 'a')), Kind::kOversized},
      {Frame("a*~"), Kind::kOversized},  // 1 + 97 bytes, expanded
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.bytes);
    EXPECT_THAT(ParseAll(c.bytes + "$OK#9a", 64), ElementsAre(Is(c.kind), Packet("OK")));
  }
}

TEST(PacketParser, ExpandsRunsUpToTheLimit) {
  EXPECT_THAT(ParseAll(Frame("0* ")), ElementsAre(Packet("0000")));
  EXPECT_THAT(ParseAll(Frame("a*~"), 98), ElementsAre(Packet(std::string(98, 'a'))));
}

TEST(PacketParser, OversizedWithAWrongChecksumIsMalformed) {
  EXPECT_THAT(ParseAll("$aaaaaaaa#00", 4), ElementsAre(Is(Kind::kMalformed)));
}

TEST(PacketParser, CountsNoiseBetweenFrames) {
  PacketParser parser(64);
  EXPECT_THAT(ParseAll(parser, "GET / HTTP/1.1\r\n$OK#9a"), ElementsAre(Packet("OK")));
  EXPECT_EQ(parser.noise_bytes(), 16u);
}

TEST(Encode, EscapesWhatTheFramingUses) {
  EXPECT_EQ(Encode("OK"), "$OK#9a");
  EXPECT_EQ(Encode(""), "$#00");
  EXPECT_EQ(Encode("#"), Frame("}\x03"));
  EXPECT_EQ(Encode("a*b}c$"), Frame("a}\x0a"
                                    "b}]c}\x04"));
}

}  // namespace
}  // namespace kdbg::rsp
