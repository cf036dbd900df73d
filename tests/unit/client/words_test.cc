#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/gdb/gdb_init.h"
#include "client/output/progress.h"
#include "client/output/text.h"
#include "client/terminal/escape_detector.h"

namespace kdbg::client {
namespace {

TEST(EscapeDetectorTest, TildeDotLeavesOnlyAtTheStartOfALine) {
  EscapeDetector detector;
  EXPECT_EQ(detector.Feed("a~.").forward, "a~.");
  EXPECT_EQ(detector.Feed("\r~").forward, "\r");
  const auto left = detector.Feed(".rest");
  EXPECT_TRUE(left.leave);
  EXPECT_EQ(left.forward, "");
}

TEST(EscapeDetectorTest, ATildeCanStillBeTyped) {
  EscapeDetector detector;
  EXPECT_EQ(detector.Feed("~~.").forward, "~.");
  EXPECT_EQ(detector.Feed("\n~/bin").forward, "\n~/bin");
  EXPECT_FALSE(detector.Feed("~.").leave);
}

TEST(TextTest, NumbersHaveTheUnitThatFits) {
  EXPECT_EQ(Bytes(999), "999 B");
  EXPECT_EQ(Bytes(67'100'000), "67.1 MB");
  EXPECT_EQ(Bytes(137'000'000), "137 MB");
  EXPECT_EQ(Elapsed(absl::Milliseconds(420)), "0.4 s");
  EXPECT_EQ(Elapsed(absl::Seconds(161)), "2m41s");
  EXPECT_EQ(Elapsed(absl::Hours(3) + absl::Minutes(5)), "3h05m");
}

TEST(TextTest, MemoryAndDurationsAreReadWithTheirUnits) {
  EXPECT_EQ(*ParseMemory("256M"), 256);
  EXPECT_EQ(*ParseMemory("2G"), 2048);
  EXPECT_EQ(*ParseMemory("512MiB"), 512);
  EXPECT_EQ(*ParseMemory("0"), 0);  // the server's to refuse
  for (const char* bad : {"", "M", "12Q", "1.5G", "99999999999999999999"}) {
    EXPECT_FALSE(ParseMemory(bad).ok()) << bad;
  }
  EXPECT_EQ(*ParseTtl("1h30m"), absl::Minutes(90));
  EXPECT_FALSE(ParseTtl("-1h").ok());
  EXPECT_FALSE(ParseTtl("soon").ok());
}

TEST(GdbInitTest, PathsWithSpacesAndQuotesStayOneArgument) {
  const std::string text = GdbInitText({.session = "s-7",
                                        .vmlinux = "/a b/v\"m",
                                        .index_directory = "/c d/index",
                                        .source_directory = "/my tree",
                                        .target = "127.0.0.1:9"});
  EXPECT_THAT(text, ::testing::HasSubstr("file \"/a b/v\\\"m\"\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("set index-cache directory /c d/index\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("set substitute-path /src \"/my tree\"\n"));
  EXPECT_EQ(QuoteForShell("/a b/it's"), "'/a b/it'\\''s'");
}

TEST(ProgressTest, TheBarNeverOverflows) {
  EXPECT_EQ(Bar(5, 10), "[##########..........]");
  EXPECT_EQ(Bar(15, 10), "[####################]");
  EXPECT_EQ(Bar(1, 0), "");
}

}  // namespace
}  // namespace kdbg::client
