#include "proto/rsp/hex.h"

#include <gtest/gtest.h>

#include <string>

namespace kdbg::rsp {
namespace {

TEST(Hex, RoundTripsEveryByte) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  EXPECT_EQ(HexDecode(HexEncode(bytes)), bytes);
  EXPECT_EQ(HexEncode("\xff\x0a"), "ff0a");
  EXPECT_EQ(HexDecode("FF0a"), "\xff\x0a");
}

TEST(Hex, RefusesWhatIsNotHex) {
  EXPECT_EQ(HexDecode("abc"), std::nullopt);
  EXPECT_EQ(HexDecode("zz"), std::nullopt);
  EXPECT_EQ(HexDecode("0x"), std::nullopt);
}

TEST(Hex, ParsesNumbersOfUpTo64Bits) {
  EXPECT_EQ(ParseHexNumber("ffffffff81000000"), 0xffffffff81000000u);
  EXPECT_EQ(ParseHexNumber("0"), 0u);
  for (const char* text :
       {"", "x", "0x1", "-1", "+1", " 1", "1 ", "10000000000000000", "00000000000000000"}) {
    EXPECT_EQ(ParseHexNumber(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace kdbg::rsp
