#include "server/build/config_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

TEST(ConfigTextTest, ReadsEachFormOfEntry) {
  const auto entries = ParseConfigText(
      "# a comment\n\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"a \\\" b\"\n"
      "CONFIG_E=-12\nCONFIG_F=0xFf\r\nCONFIG_G=n",
      "f");
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 7u);
  EXPECT_EQ((*entries)[2].symbol, "C");
  EXPECT_EQ((*entries)[2].value, "n");
  EXPECT_EQ((*entries)[3].value, "\"a \\\" b\"");
  EXPECT_EQ((*entries)[5].value, "0xFf");
  EXPECT_EQ((*entries)[6].line, 9);
}

TEST(ConfigTextTest, NamesTheLineThatIsNoConfig) {
  for (const char* bad : {"hello", "CONFIG_A", "CONFIG_=y", "CONFIG_A=maybe", "CONFIG_A=\"open",
                          "CONFIG_A B=y", "CONFIG_A=$(rm)",
                          "\x7f"
                          "ELF",
                          "CONFIG_A=\"a\"b\""}) {
    SCOPED_TRACE(bad);
    const auto entries = ParseConfigText(std::string("CONFIG_X=y\n") + bad + "\n", "net.config");
    EXPECT_EQ(entries.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(HasReason(entries.status(), Reason::kConfigInvalid));
    EXPECT_THAT(std::string(entries.status().message()), HasSubstr("net.config, line 2"));
    EXPECT_EQ(GetErrorDetail(entries.status())->metadata.at("line"), "2");
  }
}

TEST(ConfigTextTest, AnItemIsOneAssignment) {
  EXPECT_TRUE(ParseConfigItem("CONFIG_A=y").ok());
  for (const char* bad : {"A=y", "CONFIG_A", "# CONFIG_A is not set", "CONFIG_A=y\nCONFIG_B=y"}) {
    EXPECT_TRUE(HasReason(ParseConfigItem(bad).status(), Reason::kConfigInvalid)) << bad;
  }
}

TEST(ConfigTextTest, TheLaterEntryWins) {
  const auto entries = ParseConfigText("CONFIG_A=y\nCONFIG_B=y\nCONFIG_A=n\n", "f");
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(ToText(MergeEntries(*entries)), "CONFIG_B=y\n# CONFIG_A is not set\n");
}

TEST(ConfigTextTest, ValuesOfWhatIsAbsentAreN) {
  const ConfigValues values = ConfigValues::FromText("CONFIG_A=y\njunk\n# CONFIG_B is not set\n");
  EXPECT_EQ(values.Get("A"), "y");
  EXPECT_EQ(values.Get("B"), "n");
  EXPECT_TRUE(values.Has("B"));
  EXPECT_EQ(values.Get("C"), "n");
  EXPECT_FALSE(values.Has("C"));
}

}  // namespace
}  // namespace kdbg::build
