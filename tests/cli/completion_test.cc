// Bash completion, as bash would ask for it.
#include <gmock/gmock.h>

#include <sstream>
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
    Subprocess::Options options;
    options.argv = {"bash",
                    "--norc",
                    "-c",
                    "source \"$1\"; COMP_LINE=$2; COMP_POINT=${#2}; _kdbgctl; "
                    "printf '%s\\n' \"${COMPREPLY[@]}\" | sort",
                    "bash",
                    KDBGCTL_COMPLETION,
                    line};
    options.environment = environment_;
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

TEST_F(CompletionTest, OffersCommandsOfEachNoun) {
  EXPECT_THAT(Complete("kdbgctl ker"), ElementsAre("kernel"));
  EXPECT_THAT(Complete("kdbgctl kernel "), ElementsAre("build", "menuconfig"));
  EXPECT_THAT(Complete("kdbgctl -o json build "), Contains("cancel"));
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

}  // namespace
}  // namespace kdbg::test
