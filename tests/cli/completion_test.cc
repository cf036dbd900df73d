// Completion, as each shell would ask for it. zsh and fish ask the one for bash.
#include <gmock/gmock.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class CompletionTest : public CliTest {
 protected:
  // What bash would offer at the end of `line`, sorted.
  std::vector<std::string> Complete(const std::string& line) {
    return Ask({"bash", "--norc", "-c",
                "source \"$1\"; COMP_LINE=$2; COMP_POINT=${#2}; _kdbgctl; "
                "printf '%s\\n' \"${COMPREPLY[@]}\" | sort",
                "bash", KDBGCTL_COMPLETION "/kdbgctl.bash", line});
  }

  // The same by fish.
  std::vector<std::string> FishCompletes(const std::string& line) {
    return Ask({"fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2] | sort",
                KDBGCTL_COMPLETION "/kdbgctl.fish", line});
  }

  // The same by zsh, whose completion works in its line editor only: what it tells that here.
  std::vector<std::string> ZshCompletes(const std::string& line) {
    return Ask({"zsh", "-fc",
                "compadd() { print -l -- ${@[$@[(i)--]+1,-1]} }\n"
                "words=(${(z)2}); [[ $2 != *' ' ]] || words+=(''); CURRENT=$#words; "
                "PREFIX=$words[-1]; source $1 | sort",
                "zsh", KDBGCTL_COMPLETION "/kdbgctl.zsh", line});
  }

 private:
  std::vector<std::string> Ask(const std::vector<std::string>& argv) {
    Subprocess::Options options;
    options.argv = argv;
    options.environment = environment_;
    options.environment->push_back("KDBGCTL_COMPLETION=" KDBGCTL_COMPLETION "/kdbgctl.bash");
    options.working_directory = home_.string();
    const auto result = RunCommand(options, "", std::chrono::seconds(60));
    EXPECT_TRUE(result.ok() && result->error.empty()) << result->error;
    std::vector<std::string> offered;
    std::istringstream lines(result->output);
    for (std::string one; std::getline(lines, one);) {
      if (!one.empty()) offered.push_back(one);
    }
    return offered;
  }
};

bool IsInstalled(const std::string& program) {
  return std::filesystem::exists("/usr/bin/" + program);
}

TEST_F(CompletionTest, OffersCommandsOfEachNoun) {
  EXPECT_THAT(Complete("kdbgctl ker"), ElementsAre("kernel"));
  EXPECT_THAT(Complete("kdbgctl kernel "), ElementsAre("build", "menuconfig"));
  EXPECT_THAT(Complete("kdbgctl -o json build "), Contains("cancel"));
  EXPECT_THAT(Complete("kdbgctl ide "), ElementsAre("clion", "eclipse", "vscode"));
  EXPECT_THAT(Complete("kdbgctl build "), Not(Contains("kernel")));
}

TEST_F(CompletionTest, OffersOptionsWithThoseOfEveryCommand) {
  EXPECT_THAT(Complete("kdbgctl kernel menuconfig --nc"), ElementsAre("--nconfig"));
  EXPECT_THAT(Complete("kdbgctl kernel menuconfig --ser"), ElementsAre("--server"));
  EXPECT_THAT(Complete("kdbgctl session create --stop-at sh"), ElementsAre("shell"));
  EXPECT_THAT(Complete("kdbgctl -o "), ElementsAre("json", "name", "table"));
}

TEST_F(CompletionTest, OffersNamesThatTheServerKnows) {
  state().builds["builds/b-1"] = MakeBuild("b-1", v1::Build::SUCCEEDED);
  state().builds["builds/b-2"] = MakeBuild("b-2", v1::Build::FAILED);
  AddSession({});
  state().sources["sources/s-9"].set_name("sources/s-9");
  EXPECT_THAT(Complete("kdbgctl build show "), ElementsAre("b-1", "b-2"));
  EXPECT_THAT(Complete("kdbgctl session create --kernel b-2"), ElementsAre("b-2"));
  EXPECT_THAT(Complete("kdbgctl gdb "), ElementsAre("s-1"));
  EXPECT_THAT(Complete("kdbgctl ide vscode "), ElementsAre("s-1"));
  EXPECT_THAT(Complete("kdbgctl kernel build sour"), ElementsAre("sources/s-9"));
  EXPECT_THAT(Complete("kdbgctl --server unix:/nowhere build show "), IsEmpty());
  EXPECT_THAT(Complete("kdbgctl gdb s-1 -- -ba"), IsEmpty());
}

TEST_F(CompletionTest, OffersFilesWhereAFileCanBe) {
  WriteFile("linux-6.1.tar.xz", "x");
  EXPECT_THAT(Complete("kdbgctl kernel build lin"), ElementsAre("linux-6.1.tar.xz"));
  EXPECT_THAT(Complete("kdbgctl kernel build linux-6.1.tar.xz --config def"),
              ElementsAre("defconfig"));
}

TEST_F(CompletionTest, WithoutAServerNamesAreLeftOut) {
  server_.Stop();
  EXPECT_THAT(Complete("kdbgctl build show "), IsEmpty());
}

TEST_F(CompletionTest, FishOffersTheSame) {
  if (!IsInstalled("fish")) GTEST_SKIP() << "there is no fish";
  state().builds["builds/b-1"] = MakeBuild("b-1", v1::Build::SUCCEEDED);
  WriteFile("linux/Makefile", "x");
  EXPECT_THAT(FishCompletes("kdbgctl ker"), ElementsAre("kernel"));
  EXPECT_THAT(FishCompletes("kdbgctl build show "), ElementsAre("b-1"));
  EXPECT_THAT(FishCompletes("kdbgctl kernel build lin"), ElementsAre("linux/"));
}

TEST_F(CompletionTest, ZshOffersTheSame) {
  if (!IsInstalled("zsh")) GTEST_SKIP() << "there is no zsh";
  state().builds["builds/b-1"] = MakeBuild("b-1", v1::Build::SUCCEEDED);
  WriteFile("linux/Makefile", "x");
  EXPECT_THAT(ZshCompletes("kdbgctl ker"), ElementsAre("kernel"));
  EXPECT_THAT(ZshCompletes("kdbgctl build show "), ElementsAre("b-1"));
  EXPECT_THAT(ZshCompletes("kdbgctl kernel build lin"), ElementsAre("linux"));
}

}  // namespace
}  // namespace kdbg::test
