#include "server/runner/give.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "proto/support/unique_fd.h"

namespace kdbg::runner {
namespace {

constexpr uid_t kBuild = 700001;
constexpr uid_t kOther = 700002;

class GiveToTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root gives files away";
    std::string name = "/tmp/kdbg-give-XXXXXX";
    root_ = ::mkdtemp(name.data());
  }
  void TearDown() override {
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }

  void Give() {
    const UniqueFd fd(::open(root_.c_str(), O_PATH | O_CLOEXEC));
    ASSERT_TRUE(GiveTo(fd.get(), 0, kBuild, kBuild).ok());
  }
  uid_t OwnerOf(const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(::lstat((root_ / path).c_str(), &status), 0) << path;
    return status.st_uid;
  }
  void Make(const std::filesystem::path& path) { std::ofstream(root_ / path) << "x"; }

  std::filesystem::path root_;
};

TEST_F(GiveToTest, WhatTheDaemonLeftBecomesTheBuilds) {
  std::filesystem::create_directories(root_ / "include/config");
  Make(".config");
  Make("include/config/auto.conf");
  Give();
  for (const char* path : {".", ".config", "include/config/auto.conf"}) {
    EXPECT_EQ(OwnerOf(path), kBuild) << path;
  }
}

TEST_F(GiveToTest, NoLinkLeadsItAway) {
  Make("../kdbg-give-victim");
  std::filesystem::create_symlink(root_.parent_path() / "kdbg-give-victim", root_ / "link");
  std::filesystem::create_hard_link(root_.parent_path() / "kdbg-give-victim", root_ / "hard");
  Give();
  EXPECT_EQ(OwnerOf("../kdbg-give-victim"), 0U);
  EXPECT_EQ(OwnerOf("link"), kBuild);
  std::filesystem::remove(root_.parent_path() / "kdbg-give-victim");
}

TEST_F(GiveToTest, ThingsOfOthersStayTheirsAndAreNotEntered) {
  std::filesystem::create_directories(root_ / "theirs");
  Make("theirs/file");
  ASSERT_EQ(::chown((root_ / "theirs").c_str(), kOther, kOther), 0);
  Give();
  EXPECT_EQ(OwnerOf("theirs"), kOther);
  EXPECT_EQ(OwnerOf("theirs/file"), 0U);
}

TEST_F(GiveToTest, ASecondBuildGetsWhatTheDaemonAdded) {
  Give();
  Make(".config");
  Give();
  EXPECT_EQ(OwnerOf(".config"), kBuild);
}

TEST(ThreadsOfTest, WeHaveOneAtLeast) {
  EXPECT_GE(ThreadsOf(::geteuid()), 1);
  EXPECT_EQ(ThreadsOf(4000000000U), 0);
}

}  // namespace
}  // namespace kdbg::runner
