#include "server/guest/command_line.h"

#include <gtest/gtest.h>

#include <array>

#include "proto/contract/error.h"
#include "server/guest/symbol_map.h"

namespace kdbg::guest {
namespace {

using namespace std::string_view_literals;

TEST(CommandLineTest, KeepsTheKernelWhereItsSymbolsSay) {
  EXPECT_EQ(ComposeCommandLine(Architecture::kX86_64, BaseAddress::kLinked, "").value(),
            "console=ttyS0 nokaslr");
}

TEST(CommandLineTest, LetsItMoveOnlyWhenAsked) {
  EXPECT_EQ(ComposeCommandLine(Architecture::kArm64, BaseAddress::kRandomized, "quiet").value(),
            "console=ttyAMA0 quiet");
}

TEST(CommandLineTest, PutsTheCallersArgumentsLastSoThatTheyWin) {
  EXPECT_EQ(
      ComposeCommandLine(Architecture::kX86_64, BaseAddress::kLinked, "loglevel=7 panic=1").value(),
      "console=ttyS0 nokaslr loglevel=7 panic=1");
}

TEST(CommandLineTest, RefusesControlCharactersAndExcess) {
  for (std::string_view extra : {"a\nb"sv, "a\0b"sv, "a\tb"sv, "a\x7f"sv}) {
    EXPECT_TRUE(
        HasReason(ComposeCommandLine(Architecture::kX86_64, BaseAddress::kLinked, extra).status(),
                  Reason::kFieldInvalid));
  }
  EXPECT_FALSE(
      ComposeCommandLine(Architecture::kX86_64, BaseAddress::kLinked, std::string(1025, 'x')).ok());
}

constexpr std::string_view kMap =
    "0000000000000000 A __per_cpu_start\n"
    "ffffffff81000000 T _text\n"
    "ffffffff81000040 t show\n"
    "ffffffff81000080 t show\n"
    "ffffffff81000100 D start_kernel\n"
    "ffffffff81000120 T start_kernel\n"
    "broken line\n"
    "ffffffff81000140 t init\n"
    "ffffffff81000160 T init\n"
    "ffffffff81000180 W weak_one\n"
    "ffffffff810001a0 T last";

TEST(SymbolMapTest, FindsFunctionsAndPrefersGlobalOnes) {
  const std::array<std::string_view, 6> wanted = {"start_kernel", "show", "init",
                                                  "weak_one",     "last", "absent"};
  const auto found = FindFunctions(kMap, wanted);
  EXPECT_EQ(found.at("start_kernel"), 0xffffffff81000120u);
  EXPECT_EQ(found.at("show"), 0xffffffff81000040u);
  EXPECT_EQ(found.at("init"), 0xffffffff81000160u);
  EXPECT_EQ(found.at("weak_one"), 0xffffffff81000180u);
  EXPECT_EQ(found.at("last"), 0xffffffff810001a0u);
  EXPECT_FALSE(found.contains("absent"));
}

}  // namespace
}  // namespace kdbg::guest
