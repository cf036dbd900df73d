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

// A build directory where the compiler is called as kbuild does, through the cache.
class CompilerCacheTest : public ::testing::Test {
 protected:
  CompilerCacheTest() {
    std::string name = ::testing::TempDir() + "kdbg-ccache-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~CompilerCacheTest() override { fs::remove_all(directory_); }

  void Write(const std::string& name, std::string_view text) {
    std::ofstream(directory_ / name) << text;
  }
  // The bytes of the object.
  std::string Compile(const std::string& source) {
    Subprocess::Options shell;
    shell.argv = {
        "sh", "-c",
        MakeScript(fmt::format("set -eu\ncd '{}'\n"
                               "export CCACHE_DIR=$PWD/cache CCACHE_DEPEND=1\n"
                               "export CCACHE_STATSLOG=$PWD/ccache.log\n"
                               "use_compiler_cache\n"
                               "ccache gcc -Wp,-MMD,made.o.d -c -o made.o {}\ncat made.o\n",
                               directory_.string(), source))};
    const auto result = RunCommand(shell);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result->status.ok()) << result->error;
    return result->output;
  }
  // What the cache says of what it did.
  std::string Log() const {
    std::ifstream log(directory_ / "ccache.log");
    return std::string(std::istreambuf_iterator<char>(log), {});
  }

  fs::path directory_;
};

TEST_F(CompilerCacheTest, WhatIsTakenInByAssemblyIsNotTakenFromTheCache) {
  Write("piggy.S", ".section .rodata\n.incbin \"vmlinux.bin.gz\"\n");
  Write("vmlinux.bin.gz", "the kernel before");
  const std::string before = Compile("piggy.S");
  Write("vmlinux.bin.gz", "the kernel of now");
  const std::string after = Compile("piggy.S");
  EXPECT_NE(before.find("the kernel before"), std::string::npos);
  EXPECT_NE(after.find("the kernel of now"), std::string::npos);
}

TEST_F(CompilerCacheTest, AnythingElseIsCompiledOnce) {
  Write("fork.c", "int answer = 42;\n");
  const std::string first = Compile("fork.c");
  EXPECT_EQ(Compile("fork.c"), first);
  EXPECT_NE(Log().find("direct_cache_hit"), std::string::npos) << Log();
}

}  // namespace
}  // namespace kdbg::build
