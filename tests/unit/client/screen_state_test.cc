#include "client/terminal/screen_state.h"

#include <gtest/gtest.h>

#include <string>

namespace kdbg::client {
namespace {

TEST(ScreenStateTest, FollowsTheAlternateScreenHoweverItsSequencesAreCut) {
  const std::string enter = "a\x1b[?1049h\x1b[22;0;0tb";
  for (std::size_t cut = 0; cut <= enter.size(); ++cut) {
    ScreenState screen;
    screen.Feed(enter.substr(0, cut));
    screen.Feed(enter.substr(cut));
    EXPECT_TRUE(screen.in_alternate_screen()) << cut;
    screen.Feed("\x1b[2J\x1b[?25l");
    EXPECT_TRUE(screen.in_alternate_screen());
    screen.Feed("\x1b[?1049l");
    EXPECT_FALSE(screen.in_alternate_screen());
  }
}

TEST(ScreenStateTest, PlainTextDrawsOnNothing) {
  ScreenState screen;
  screen.Feed("HOSTCC scripts/kconfig/mconf\r\n[?1049h");
  EXPECT_FALSE(screen.drawn_on());
  EXPECT_FALSE(screen.in_alternate_screen());
  screen.Feed("\x1b[1mbold");
  EXPECT_TRUE(screen.drawn_on());
  EXPECT_FALSE(screen.in_alternate_screen());
}

TEST(ScreenStateTest, AnEndlessSequenceIsBounded) {
  ScreenState screen;
  screen.Feed("\x1b[" + std::string(1 << 20, '1'));
  screen.Feed("h\x1b[?47h");
  EXPECT_TRUE(screen.in_alternate_screen());
}

}  // namespace
}  // namespace kdbg::client
