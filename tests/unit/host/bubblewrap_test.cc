#include "server/host/bubblewrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace kdbg::host {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

Sandbox SmallSandbox() {
  Sandbox sandbox;
  sandbox.binds = {{"/state/src", "/src", Access::kReadOnly},
                   {"/state/build", "/build", Access::kWritable}};
  sandbox.argv = {"make", "-j2"};
  sandbox.environment = {"KBUILD_BUILD_USER=kdbg", "EMPTY=", "WITH=a=b"};
  sandbox.working_directory = "/build";
  return sandbox;
}

std::vector<std::string> ArgumentsOf(const Sandbox& sandbox) {
  return BubblewrapArguments(
      {.sandbox = sandbox,
       .sources = {"/tmp/0", "/tmp/1"},
       .etc = {.files = {"/etc/ld.so.cache"}, .links = {{"/etc/alternatives/cc", "/usr/bin/gcc"}}},
       .files = {{5, "/etc/passwd"}},
       .status_fd = 4});
}

// Where `words` stand one after the other; -1 when they do not.
std::ptrdiff_t Position(const std::vector<std::string>& all, std::vector<std::string> words) {
  const auto found = std::search(all.begin(), all.end(), words.begin(), words.end());
  return found == all.end() ? -1 : found - all.begin();
}

TEST(BubblewrapTest, UnsharesEverythingAndForbidsMore) {
  const auto arguments = ArgumentsOf(SmallSandbox());
  for (const char* flag : {"--unshare-all", "--unshare-user", "--disable-userns",
                           "--die-with-parent", "--new-session", "--clearenv"}) {
    EXPECT_THAT(arguments, Contains(flag));
  }
  EXPECT_THAT(arguments, Not(Contains("--share-net")));
}

TEST(BubblewrapTest, OnlyWritableBindsAreWritable) {
  const auto arguments = ArgumentsOf(SmallSandbox());
  EXPECT_GE(Position(arguments, {"--ro-bind", "/tmp/0", "/src"}), 0);
  EXPECT_GE(Position(arguments, {"--bind", "/tmp/1", "/build"}), 0);
  EXPECT_EQ(std::count(arguments.begin(), arguments.end(), "--bind"), 1);
  EXPECT_THAT(arguments, Not(Contains("/state/src"))) << "a path of the state directory shows";
}

TEST(BubblewrapTest, TheRootIsClosedAfterEverythingIsInIt) {
  const auto arguments = ArgumentsOf(SmallSandbox());
  const auto closed = Position(arguments, {"--remount-ro", "/"});
  ASSERT_GE(closed, 0);
  for (const char* inside : {"/build", "/etc/passwd", "/tmp", "/usr"}) {
    const auto at = std::find(arguments.begin(), arguments.end(), inside) - arguments.begin();
    EXPECT_LT(at, closed) << inside;
  }
}

TEST(BubblewrapTest, NothingOfEtcIsADirectoryOfTheHost) {
  const auto arguments = ArgumentsOf(SmallSandbox());
  EXPECT_GE(Position(arguments, {"--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"}), 0);
  EXPECT_GE(Position(arguments, {"--symlink", "/usr/bin/gcc", "/etc/alternatives/cc"}), 0);
  EXPECT_EQ(Position(arguments, {"--ro-bind", "/etc", "/etc"}), -1);
}

TEST(BubblewrapTest, EnvironmentIsSplitAtTheFirstEqualsSign) {
  const auto arguments = ArgumentsOf(SmallSandbox());
  EXPECT_GE(Position(arguments, {"--setenv", "KBUILD_BUILD_USER", "kdbg"}), 0);
  EXPECT_GE(Position(arguments, {"--setenv", "EMPTY", ""}), 0);
  EXPECT_GE(Position(arguments, {"--setenv", "WITH", "a=b"}), 0);
}

TEST(BubblewrapTest, TheCommandCannotBeTakenForAnOption) {
  Sandbox sandbox = SmallSandbox();
  sandbox.argv = {"--bind", "/", "/host"};
  const auto arguments = ArgumentsOf(sandbox);
  const auto end = Position(arguments, {"--", "--bind", "/", "/host"});
  EXPECT_EQ(end, static_cast<std::ptrdiff_t>(arguments.size()) - 4);
}

TEST(BubblewrapTest, TemporaryFileSystemsHaveTheSizeOfTheMemoryLimit) {
  Sandbox sandbox = SmallSandbox();
  EXPECT_THAT(ArgumentsOf(sandbox), Not(Contains("--size")));
  sandbox.limits.memory_bytes = 1 << 20;
  const auto arguments = ArgumentsOf(sandbox);
  for (const char* place : {"/tmp", "/dev/shm"}) {
    EXPECT_GE(Position(arguments, {"--size", "1048576", "--perms", "1777", "--tmpfs", place}), 0);
  }
}

TEST(BubblewrapTest, EtcViewTakesWhatIsThere) {
  std::string root = "/tmp/kdbg-etc-XXXXXX";
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  EXPECT_THAT(FindEtcView(root).files, IsEmpty());
  EXPECT_THAT(FindEtcView(root).links, IsEmpty());
  const std::filesystem::path etc = std::filesystem::path(root) / "etc";
  std::filesystem::create_directories(etc / "alternatives");
  std::ofstream(etc / "ld.so.cache") << "x";
  std::ofstream(etc / "shadow") << "x";
  std::filesystem::create_symlink("/usr/bin/mawk", etc / "alternatives/awk");
  std::filesystem::create_symlink("/usr/bin/vi", etc / "alternatives/editor");
  EXPECT_THAT(FindEtcView(root).files, ElementsAre("/etc/ld.so.cache"));
  EXPECT_THAT(FindEtcView(root).links, ElementsAre(Pair("/etc/alternatives/awk", "/usr/bin/mawk")));
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace kdbg::host
