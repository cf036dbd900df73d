#include "server/build/failure_diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

BuildFailure Diagnose(std::initializer_list<const char*> lines) {
  FailureDiagnosis diagnosis;
  for (const char* line : lines) diagnosis.Line(line);
  return diagnosis.Verdict();
}

TEST(FailureDiagnosisTest, NamesFileAndLineOfTheFirstCompileError) {
  const BuildFailure failure = Diagnose(
      {"  CC      kernel/fork.o", "/src/kernel/fork.c: In function 'copy_process':",
       "/src/kernel/fork.c:2034:3: error: 'nonsense' undeclared (first use in this function)",
       " 2034 |   nonsense;", "/src/kernel/exit.c:1:1: error: other",
       "make[3]: *** [/src/scripts/Makefile.build:250: kernel/fork.o] Error 1"});
  EXPECT_EQ(failure.fault, Fault::kSubject);
  EXPECT_EQ(failure.reason, Reason::kCompileError);
  EXPECT_EQ(failure.file, "kernel/fork.c");
  EXPECT_EQ(failure.line, 2034);
  EXPECT_THAT(failure.message, HasSubstr("'nonsense' undeclared"));
  EXPECT_THAT(failure.excerpt, HasSubstr("  CC      kernel/fork.o\n"));
  EXPECT_THAT(failure.excerpt, HasSubstr(" 2034 |   nonsense;\n"));
}

TEST(FailureDiagnosisTest, AnErrorOfTheCommandLineIsPlacedWhereItWasUsed) {
  const BuildFailure failure =
      Diagnose({"<command-line>: error: expected identifier or '(' before numeric constant",
                "/src/init/main.c:913:20: note: in expansion of macro 'do_basic_setup'",
                "/src/init/main.c:950:2: note: in expansion of macro 'do_basic_setup'"});
  EXPECT_EQ(failure.reason, Reason::kCompileError);
  EXPECT_EQ(failure.file, "init/main.c");
  EXPECT_EQ(failure.line, 913);
  EXPECT_EQ(failure.message,
            "does not compile: init/main.c:913: error: expected identifier or '(' before numeric "
            "constant");
}

// What make really printed, from its last forty lines: Linux 6.1, 4.19 and BusyBox 1.35 with gcc
// 12, in a sandbox without the tool or library, or with a fault put into the file named.
struct CapturedLog {
  const char* name;
  Fault fault;
  Reason reason;
  const char* file;
  int line;
  const char* says;
};
constexpr CapturedLog kCapturedLogs[] = {
    {"compile-error", Fault::kSubject, Reason::kCompileError, "lib/ctype.c", 38,
     "'_ctypo' undeclared"},
    {"warning-as-error", Fault::kSubject, Reason::kCompileError, "lib/ctype.c", 39,
     "'unused_here' defined but not used"},
    {"no-such-header", Fault::kSubject, Reason::kCompileError, "lib/ctype.c", 39,
     "linux/no_such_header.h"},
    {"error-directive", Fault::kSubject, Reason::kCompileError, "lib/ctype.c", 39,
     "This needs thought"},
    {"assembler-error", Fault::kSubject, Reason::kCompileError, "arch/x86/lib/memset_64.S", 38,
     "no such instruction: `repp stosq'"},
    {"kconfig-error", Fault::kSubject, Reason::kCompileError, "init/Kconfig", 102, "syntax error"},
    {"makefile-error", Fault::kSubject, Reason::kBuildFailed, "lib/Makefile", 398,
     "invalid syntax in conditional"},
    {"no-rule", Fault::kSubject, Reason::kBuildFailed, "", 0,
     "No rule to make target 'lib/not_there.o'"},
    {"unknown-flag", Fault::kSubject, Reason::kCompileError, "", 0, "'-mno-such-flag'"},
    {"undefined-reference", Fault::kSubject, Reason::kLinkError, "", 0,
     "undefined reference to `nowhere'"},
    {"modpost-undefined", Fault::kSubject, Reason::kLinkError, "", 0,
     "modpost: \"__x86_return_thunk\" [/build/ext/hello.ko] undefined!"},
    {"objtool-libsubcmd", Fault::kSubject, Reason::kCompileError, "subcmd-util.h", 56,
     "pointer may be used after 'realloc'"},
    {"no-certificate", Fault::kCaller, Reason::kConfigInvalid, "", 0, "CONFIG_SYSTEM_TRUSTED_KEYS"},
    {"no-libcrypt", Fault::kHost, Reason::kMissingTool, "", 0, "its package libcrypt-dev"},
    {"no-libc", Fault::kHost, Reason::kMissingTool, "", 0, "its package libc6-dev"},
    {"no-flex", Fault::kHost, Reason::kMissingTool, "", 0, "its package flex"},
    {"no-bison", Fault::kHost, Reason::kMissingTool, "", 0, "its package bison"},
    {"no-bc", Fault::kHost, Reason::kMissingTool, "", 0, "its package bc"},
    {"no-libelf", Fault::kHost, Reason::kMissingTool, "", 0, "its package libelf-dev"},
    {"no-openssl", Fault::kHost, Reason::kMissingTool, "", 0, "its package openssl"},
    {"no-openssl-headers", Fault::kHost, Reason::kMissingTool, "", 0, "its package libssl-dev"},
    {"no-pahole", Fault::kHost, Reason::kMissingTool, "", 0, "its package dwarves"},
    {"no-lz4", Fault::kHost, Reason::kMissingTool, "", 0, "its package lz4"},
    {"no-ncurses", Fault::kHost, Reason::kMissingTool, "", 0, "its package libncurses-dev"},
    {"small-terminal", Fault::kCaller, Reason::kFieldInvalid, "", 0, "make its window larger"},
    {"no-gcc", Fault::kHost, Reason::kMissingTool, "", 0, "its package gcc"},
    {"cc1-killed", Fault::kHost, Reason::kOutOfMemory, "", 0, "ran out of memory"},
    {"cc1-no-memory", Fault::kHost, Reason::kOutOfMemory, "", 0, "ran out of memory"},
    {"disk-full", Fault::kHost, Reason::kDiskFull, "", 0, "free some room"},
};

class CapturedLogTest : public ::testing::TestWithParam<CapturedLog> {};

TEST_P(CapturedLogTest, HasItsCause) {
  const CapturedLog& log = GetParam();
  std::ifstream file(std::string(FAILURE_LOGS) + "/" + log.name + ".log");
  ASSERT_TRUE(file.is_open());
  FailureDiagnosis diagnosis;
  for (std::string line; std::getline(file, line);) diagnosis.Line(line);
  const BuildFailure failure = diagnosis.Verdict();
  EXPECT_EQ(failure.fault, log.fault);
  EXPECT_EQ(failure.reason, log.reason) << ReasonName(failure.reason);
  EXPECT_EQ(failure.file, log.file);
  EXPECT_EQ(failure.line, log.line);
  EXPECT_THAT(failure.message, HasSubstr(log.says));
  EXPECT_FALSE(failure.excerpt.empty());
}

INSTANTIATE_TEST_SUITE_P(Logs, CapturedLogTest, ::testing::ValuesIn(kCapturedLogs),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(FailureDiagnosisTest, EveryCapturedLogIsInTheTable) {
  std::set<std::string> known;
  for (const CapturedLog& log : kCapturedLogs) known.insert(std::string(log.name) + ".log");
  for (const auto& entry : std::filesystem::directory_iterator(FAILURE_LOGS)) {
    EXPECT_TRUE(known.contains(entry.path().filename().string())) << entry.path();
  }
}

TEST(FailureDiagnosisTest, KeepsAboutTwentyLinesAroundTheCause) {
  FailureDiagnosis diagnosis;
  for (int i = 0; i < 100; ++i) diagnosis.Line("before " + std::to_string(i));
  diagnosis.Line("/src/a.c:1:2: error: x");
  for (int i = 0; i < 100; ++i) diagnosis.Line("after " + std::to_string(i));
  const std::string excerpt = diagnosis.Verdict().excerpt;
  EXPECT_EQ(std::count(excerpt.begin(), excerpt.end(), '\n'), 21);
  EXPECT_THAT(excerpt, HasSubstr("before 90\n"));
  EXPECT_THAT(excerpt, HasSubstr("after 9\n"));
}

TEST(FailureDiagnosisTest, TellsTheKindsApart) {
  struct Case {
    const char* line;
    Reason reason;
    Fault fault;
    const char* file;
    int at;
  };
  const Case cases[] = {
      {"/src/a/b.c:7:10: fatal error: nothere.h: No such file or directory", Reason::kCompileError,
       Fault::kSubject, "a/b.c", 7},
      {"/src/arch/x86/head.S:12: Error: no such instruction: `foo'", Reason::kCompileError,
       Fault::kSubject, "arch/x86/head.S", 12},
      {"include/linux/x.h:3:2: error: #error no", Reason::kCompileError, Fault::kSubject,
       "include/linux/x.h", 3},
      {"lib/Kconfig.debug:12: syntax error", Reason::kCompileError, Fault::kSubject,
       "lib/Kconfig.debug", 12},
      {"/usr/bin/ld: vmlinux.o: in function `f': undefined reference to `g'", Reason::kLinkError,
       Fault::kSubject, "", 0},
      {"main.c:(.text+0x12): undefined reference to `nothing'", Reason::kLinkError, Fault::kSubject,
       "", 0},
      {"ERROR: modpost: \"foo\" [drivers/x.ko] undefined!", Reason::kLinkError, Fault::kSubject, "",
       0},
      {"/bin/sh: 1: flex: not found", Reason::kMissingTool, Fault::kHost, "", 0},
      {"make[2]: bison: No such file or directory", Reason::kMissingTool, Fault::kHost, "", 0},
      {"/src/scripts/x.c:5:10: fatal error: openssl/bio.h: No such file or directory",
       Reason::kMissingTool, Fault::kHost, "", 0},
      {"x86_64-linux-gnu-gcc: fatal error: Killed signal terminated program cc1",
       Reason::kOutOfMemory, Fault::kHost, "", 0},
      {"/tmp/cc1.s: final close failed: No space left on device", Reason::kDiskFull, Fault::kHost,
       "", 0},
      {"make[1]: *** No rule to make target 'x.o', needed by 'y'.  Stop.", Reason::kBuildFailed,
       Fault::kSubject, "", 0},
      {"make: *** [Makefile:1250: vmlinux] Error 1", Reason::kBuildFailed, Fault::kSubject, "", 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.line);
    const BuildFailure failure = Diagnose({c.line});
    EXPECT_EQ(failure.reason, c.reason) << ReasonName(failure.reason);
    EXPECT_EQ(failure.fault, c.fault);
    EXPECT_EQ(failure.file, c.file);
    EXPECT_EQ(failure.line, c.at);
  }
}

TEST(FailureDiagnosisTest, WhatATerminalWouldObeyIsLeftOut) {
  const BuildFailure failure = Diagnose(
      {"\x1b[?1049h\x1b(B\x1b[1m/src/a.c:1:2:\x1b[m\x1b[K \x1b[31merror:\x1b[m caf\xc3\xa9\r"});
  EXPECT_EQ(failure.excerpt, "/src/a.c:1:2: error: caf\xc3\xa9\n");
  EXPECT_EQ(failure.line, 1);
}

TEST(FailureDiagnosisTest, WarningsAreNoCause) {
  for (const char* line :
       {"/src/a.c:1:2: warning: unused variable 'error'", "  CC      lib/error.o",
        "/usr/bin/ld: x.o: in function `f': warning: the use of `mktemp' is dangerous",
        "make[1]: *** Waiting for unfinished jobs....", "",
        "::::", "a:9999999999999999999:", "make[1]: *** [Makefile:3: x] Error 1 (ignored)",
        "make[3]: *** Deleting file 'x.lz4'", "  CC      kernel/panic_on_error.o",
        "checking for error.h... yes", "  HOSTCC  scripts/failed"}) {
    EXPECT_EQ(ReadLine(line).weight, Weight::kNone) << line;
  }
}

TEST(FailureDiagnosisTest, AnUnknownFailureShowsItsFirstErrorLine) {
  const BuildFailure failure =
      Diagnose({"  GEN     strange.c", "strange-generator: error in line 12", "Error: and more",
                "make[1]: *** [Makefile:3: strange.c] Error 1"});
  EXPECT_EQ(failure.reason, Reason::kBuildFailed);
  EXPECT_THAT(failure.message, HasSubstr("strange-generator: error in line 12"));
  EXPECT_THAT(failure.excerpt, HasSubstr("  GEN     strange.c\n"));
}

TEST(FailureDiagnosisTest, WhatTheSourceItselfAdvisesToInstallIsNamed) {
  const BuildFailure failure = Diagnose(
      {"Makefile:962: *** \"Cannot generate ORC metadata for CONFIG_UNWINDER_ORC=y, please install "
       "libelf-dev, libelf-devel or elfutils-libelf-devel\".  Stop."});
  EXPECT_EQ(failure.reason, Reason::kMissingTool);
  EXPECT_EQ(failure.fault, Fault::kHost);
  EXPECT_THAT(failure.message, HasSubstr("its package libelf-dev there"));
}

TEST(FailureDiagnosisTest, WithoutAnExplanationItShowsTheEndOfTheLog) {
  const BuildFailure failure = Diagnose({"one", "two"});
  EXPECT_EQ(failure.reason, Reason::kBuildFailed);
  EXPECT_EQ(failure.excerpt, "one\ntwo\n");
}

}  // namespace
}  // namespace kdbg::build
