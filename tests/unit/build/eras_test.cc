#include "server/build/eras.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/build/kernel_config.h"

namespace kdbg::build {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> Linux(std::string_view version, Era::Kind kind) {
  return TextsOf(ErasOf(Project::kLinux, version), kind);
}

TEST(ErasTest, VersionsAreReadByTheirNumbers) {
  EXPECT_EQ(ParseVersion("4.19.108"), (Version{4, 19, 108}));
  EXPECT_EQ(ParseVersion("6.1-rc3"), (Version{6, 1, 0}));
  EXPECT_EQ(ParseVersion("5.4.42-rt25+"), (Version{5, 4, 42}));
  EXPECT_EQ(ParseVersion("7"), (Version{7, 0, 0}));
  EXPECT_EQ(ParseVersion("next"), std::nullopt);
  EXPECT_EQ(ParseVersion(""), std::nullopt);
}

TEST(ErasTest, A419NeedsWhatTodaysCompilerWouldRefuse) {
  EXPECT_THAT(Linux("4.19.108", Era::Kind::kHostFlag), Contains("-fcommon"));
  EXPECT_THAT(Linux("4.19.108", Era::Kind::kMakeVariable), Contains("WERROR=0"));
  EXPECT_THAT(Linux("4.19.108", Era::Kind::kCompilerFlag), Contains("-fvar-tracking-assignments"));
  EXPECT_THAT(Linux("4.19.108", Era::Kind::kConfig), Contains("CONFIG_STACKPROTECTOR=n"));
}

TEST(ErasTest, ARangeEndsWithTheStableReleaseThatHasTheFix) {
  const std::string canary = "CONFIG_STACKPROTECTOR=n";
  for (const char* without : {"4.19.123", "4.20", "5.4.41", "5.5", "5.6.13"}) {
    EXPECT_THAT(Linux(without, Era::Kind::kConfig), Contains(canary)) << without;
  }
  for (const char* with : {"4.19.124", "5.4.42", "5.6.14", "5.7", "6.1.170"}) {
    EXPECT_THAT(Linux(with, Era::Kind::kConfig), Not(Contains(canary))) << with;
  }
}

TEST(ErasTest, AKernelOfTodayAndOneOfNoVersionAreLeftAlone) {
  EXPECT_THAT(ErasOf(Project::kLinux, "6.1.170"), IsEmpty());
  EXPECT_THAT(ErasOf(Project::kLinux, "next-20990101"), IsEmpty());
}

TEST(ErasTest, EveryRowIsARangeWithAReasonAndOneConfigItemOrFlag) {
  for (const Era& era : Eras()) {
    SCOPED_TRACE(era.text);
    EXPECT_LT(era.from, era.before);
    EXPECT_FALSE(era.why.empty());
    const bool config = era.kind == Era::Kind::kConfig;
    EXPECT_TRUE(!config || ParseConfigItem(std::string(era.text)).ok());
    const bool variable = era.kind == Era::Kind::kMakeVariable;
    EXPECT_TRUE(!variable || era.text.find('=') != std::string_view::npos);
  }
}

TEST(ErasTest, WhatTheCallerSetsWins) {
  const auto eras = ErasOf(Project::kBusybox, "1.35.0");
  const auto merged = MergeUnder(eras, {{"TC", "y"}, {"ASH", "y"}});
  ASSERT_TRUE(merged.ok());
  const std::string text = ToText(*merged);
  EXPECT_THAT(text, ::testing::HasSubstr("CONFIG_TC=y\n"));
  EXPECT_THAT(text, Not(::testing::HasSubstr("# CONFIG_TC is not set")));
  EXPECT_THAT(text, ::testing::HasSubstr("# CONFIG_PAM is not set\n"));
}

}  // namespace
}  // namespace kdbg::build
