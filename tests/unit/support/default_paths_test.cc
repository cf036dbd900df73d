#include "proto/support/default_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kdbg {
namespace {

using ::testing::ElementsAre;

TEST(DefaultPathsTest, RootUsesTheSystemPlaces) {
  const auto paths = DefaultDaemonPaths({.root = true, .home = "/root"});
  ASSERT_TRUE(paths.ok());
  EXPECT_EQ(paths->state_directory, "/var/lib/kdbgd");
  EXPECT_EQ(paths->socket, "/run/kdbgd/kdbgd.sock");
}

TEST(DefaultPathsTest, AUserListensInTheRuntimeDirectoryElseInItsState) {
  PathEnvironment user{.home = "/home/a", .xdg_runtime_dir = "/run/user/7"};
  EXPECT_EQ(DefaultDaemonPaths(user)->socket, "/run/user/7/kdbg/kdbgd.sock");
  user.xdg_runtime_dir = "";
  EXPECT_EQ(DefaultDaemonPaths(user)->socket, "/home/a/.local/state/kdbg/kdbgd.sock");
  user.xdg_state_home = "/s";
  EXPECT_EQ(DefaultDaemonPaths(user)->socket, "/s/kdbg/kdbgd.sock");
}

TEST(DefaultPathsTest, SystemdsDirectoriesWin) {
  const auto paths = DefaultDaemonPaths({.root = false,
                                         .home = "/h",
                                         .systemd_state_directory = "/var/lib/x",
                                         .systemd_runtime_directory = "/run/x"});
  EXPECT_EQ(paths->state_directory, "/var/lib/x");
  EXPECT_EQ(paths->socket, "/run/x/kdbgd.sock");
}

TEST(DefaultPathsTest, TheClientLooksWhereverADaemonOfThisUserOrTheSystemWouldListen) {
  const PathEnvironment user{.home = "/home/a", .xdg_runtime_dir = "/run/user/7"};
  EXPECT_THAT(DefaultSockets(user),
              ElementsAre("/run/user/7/kdbg/kdbgd.sock", "/home/a/.local/state/kdbg/kdbgd.sock",
                          "/run/kdbgd/kdbgd.sock"));
  EXPECT_EQ(DefaultSockets({.root = true, .home = "/root"}).front(), "/run/kdbgd/kdbgd.sock");
}

TEST(DefaultPathsTest, NoHomeIsAnErrorNotARelativePath) {
  EXPECT_FALSE(DefaultDaemonPaths({}).ok());
  EXPECT_FALSE(UserCacheDirectory({}).ok());
}

}  // namespace
}  // namespace kdbg
