#include "server/build/failure_diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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

TEST(FailureDiagnosisTest, WarningsAreNoCause) {
  for (const char* line :
       {"/src/a.c:1:2: warning: unused variable 'error'", "  CC      lib/error.o",
        "/usr/bin/ld: x.o: in function `f': warning: the use of `mktemp' is dangerous",
        "make[1]: *** Waiting for unfinished jobs....", "", "::::", "a:9999999999999999999:"}) {
    EXPECT_EQ(FailureDiagnosis::Read(line).weight, FailureDiagnosis::Weight::kNone) << line;
  }
}

TEST(FailureDiagnosisTest, WithoutAnExplanationItShowsTheEndOfTheLog) {
  const BuildFailure failure = Diagnose({"one", "two"});
  EXPECT_EQ(failure.reason, Reason::kBuildFailed);
  EXPECT_EQ(failure.excerpt, "one\ntwo\n");
}

}  // namespace
}  // namespace kdbg::build
