#include "proto/contract/utf8.h"

#include <gtest/gtest.h>

namespace kdbg {
namespace {

constexpr char kBad[] = "\xEF\xBF\xBD";

TEST(Utf8Test, ValidTextStaysAsItIs) {
  for (const std::string text :
       {"", "plain", "gr\xC3\xBC\xC3\x9F", "\xE2\x82\xAC", "\xF0\x9F\x90\xA7"}) {
    EXPECT_EQ(ValidUtf8(text), text);
  }
}

TEST(Utf8Test, EveryByteThatIsNoTextIsReplaced) {
  const std::string bad = kBad;
  EXPECT_EQ(ValidUtf8("a\xFFz"), "a" + bad + "z");
  EXPECT_EQ(ValidUtf8("\xC3"), bad);                                // cut short
  EXPECT_EQ(ValidUtf8("\xC0\xAF"), bad + bad);                      // overlong '/'
  EXPECT_EQ(ValidUtf8("\xED\xA0\x80"), bad + bad + bad);            // a surrogate
  EXPECT_EQ(ValidUtf8("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
  EXPECT_EQ(ValidUtf8("\xE2\x82z"), bad + bad + "z");
}

TEST(Utf8Test, ShortTextIsCutBetweenCharacters) {
  EXPECT_EQ(ShortUtf8("short", 5), "short");
  EXPECT_EQ(ShortUtf8("longer text", 8), "longe...");
  EXPECT_EQ(ShortUtf8("ab\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", 7), "ab...");
  EXPECT_EQ(ShortUtf8("abcdef", 2), "..");
  EXPECT_EQ(ShortUtf8("abcdef", 0), "");
}

}  // namespace
}  // namespace kdbg
