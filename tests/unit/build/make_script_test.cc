#include "server/build/make_script.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "proto/support/subprocess.h"

namespace kdbg::build {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

// A build directory whose make only says what it was called with.
class ResumableMakeTest : public ::testing::Test {
 protected:
  ResumableMakeTest() {
    std::string name = ::testing::TempDir() + "kdbg-make-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    fs::create_directories(directory_ / ".kdbg");
  }
  ~ResumableMakeTest() override { fs::remove_all(directory_); }

  void Leave(const std::string& name, seconds age) {
    fs::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name) << name;
    fs::last_write_time(directory_ / name, now_ - age);
  }
  bool Has(const std::string& name) const { return fs::exists(directory_ / name); }
  ExitStatus Make(std::string_view command) {
    Subprocess::Options shell;
    shell.argv = {"sh", "-c",
                  fmt::format("set -eu\n{}\nmake() {{ {}; }}\ncd '{}'\nresumable_make all\n",
                              kResumableMake, command, directory_.string())};
    const auto result = RunCommand(shell);
    EXPECT_TRUE(result.ok()) << result.status();
    return result->status;
  }

  fs::path directory_;
  const fs::file_time_type now_ = fs::file_time_type::clock::now();
};

TEST_F(ResumableMakeTest, WhatWasWrittenJustBeforeAKillIsMadeAgain) {
  Leave(".kdbg/making", seconds(600));
  Leave("kernel/fork.o", seconds(300));  // half written when it was killed
  Leave("kernel/.fork.o.cmd", seconds(5000));
  Leave("mm/slab.o", seconds(302));  // as good as done
  Leave("mm/.slab.o.cmd", seconds(301));
  Leave("init/main.o", seconds(400));  // long done
  Leave("init/.main.o.cmd", seconds(399));
  Leave("include/generated/made.h", seconds(300));  // no target of kbuild's
  EXPECT_TRUE(Make("true").ok());
  for (const char* gone :
       {"kernel/fork.o", "kernel/.fork.o.cmd", "mm/slab.o", "mm/.slab.o.cmd", ".kdbg/making"}) {
    EXPECT_FALSE(Has(gone)) << gone;
  }
  for (const char* kept : {"init/main.o", "init/.main.o.cmd", "include/generated/made.h"}) {
    EXPECT_TRUE(Has(kept)) << kept;
  }
}

TEST_F(ResumableMakeTest, AMakeThatEndedByItselfCostsNothing) {
  Leave("kernel/fork.o", seconds(0));
  Leave("kernel/.fork.o.cmd", seconds(0));
  EXPECT_EQ(Make("return 2").code, 2);
  EXPECT_FALSE(Has(".kdbg/making"));
  EXPECT_TRUE(Make("true").ok());
  EXPECT_TRUE(Has("kernel/fork.o"));
}

TEST_F(ResumableMakeTest, AKilledMakeIsRemembered) {
  EXPECT_FALSE(Make("kill -9 $$").ok());
  EXPECT_TRUE(Has(".kdbg/making"));
}

}  // namespace
}  // namespace kdbg::build
