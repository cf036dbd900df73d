// kernel menuconfig from the user's side: the terminal, and the file it saves.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <sstream>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::HasSubstr;

constexpr char kHeader[] = "#\n# Automatically generated file; DO NOT EDIT.\n#\n";

class MenuconfigTest : public CliTest {
 protected:
  MenuconfigTest() {
    v1::Source source;
    source.set_name("sources/s-1");
    source.set_state(v1::Source::READY);
    source.set_project("linux");
    state().sources["sources/s-1"] = source;
    state().saved_config = std::string(kHeader) + "CONFIG_NET=y\n";
  }

  // On a terminal that is the command's own: a new window size is told to its foreground process.
  Subprocess Open(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"kernel", "menuconfig", "sources/s-1"});
    Subprocess::Options options;
    options.argv = {"setsid", "--ctty", "--wait", (home_ / "bin/kdbgctl").string()};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.environment = environment_;
    options.working_directory = home_.string();
    const int terminal = terminal_.slave();
    options.descriptors = {{0, terminal}, {1, terminal}, {2, terminal}};
    return *Subprocess::Start(options);
  }
  std::string Content(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(home_ / name, std::ios::binary).rdbuf();
    return text.str();
  }

  Terminal terminal_;
};

TEST_F(MenuconfigTest, SavesHereAndSaysHowToBuildWithIt) {
  Subprocess process = Open({"--config", "defconfig", "--set", "CONFIG_X=y"});
  terminal_.ReadUntil("menu");
  EXPECT_TRUE(terminal_.IsRaw());
  terminal_.Type("s");
  EXPECT_THAT(terminal_.ReadUntil("--config .config"),
              HasSubstr("saved .config: kdbgctl kernel build sources/s-1"));
  EXPECT_EQ(process.Wait().code, 0);
  EXPECT_FALSE(terminal_.IsRaw());
  EXPECT_EQ(Content(".config"), state().saved_config);
  ASSERT_EQ(state().editor_starts.size(), 1u);
  const auto& start = state().editor_starts[0];
  EXPECT_EQ(start.source(), "sources/s-1");
  EXPECT_EQ(start.kernel().base_config(), "defconfig");
  EXPECT_EQ(start.kernel().config_items(0), "CONFIG_X=y");
  EXPECT_EQ(start.terminal(), "dumb");
}

TEST_F(MenuconfigTest, GoesOnWithTheFileThatIsThereAndKeepsItAsOld) {
  const std::string before = std::string(kHeader) + "# CONFIG_NET is not set\n";
  WriteFile("my.config", before);
  Subprocess process = Open({"-O", "my.config"});
  terminal_.ReadUntil("menu");
  terminal_.Type("s");
  EXPECT_THAT(terminal_.ReadUntil("--config my.config"), HasSubstr("before: my.config.old"));
  EXPECT_EQ(process.Wait().code, 0);
  EXPECT_EQ(state().editor_starts[0].kernel().base_config_text(), before);
  EXPECT_EQ(Content("my.config"), state().saved_config);
  EXPECT_EQ(Content("my.config.old"), before);
}

TEST_F(MenuconfigTest, LeftWithoutSavingNothingIsTouched) {
  WriteFile(".config", kHeader);
  Subprocess process = Open({"--nconfig"});
  terminal_.ReadUntil("menu");
  terminal_.Type("q");
  terminal_.ReadUntil("nothing was saved");
  EXPECT_EQ(process.Wait().code, 0);
  EXPECT_EQ(Content(".config"), kHeader);
  EXPECT_FALSE(std::filesystem::exists(home_ / ".config.old"));
  EXPECT_EQ(state().editor_starts[0].program(), v1::ConfigureKernelRequest::NCONFIG);
}

TEST_F(MenuconfigTest, KeysOfControlAndNewSizesGoToTheProgram) {
  terminal_.Resize(120, 40);
  Subprocess process = Open({});
  terminal_.ReadUntil("menu");
  EXPECT_EQ(state().editor_starts[0].size().columns(), 120);
  EXPECT_EQ(state().editor_starts[0].size().rows(), 40);
  terminal_.Type("\x03");
  EXPECT_THAT(terminal_.ReadUntil("]"), HasSubstr("[\x03]"));
  terminal_.Resize(100, 50);
  EXPECT_THAT(terminal_.ReadUntil("}"), HasSubstr("{100x50}"));
  terminal_.Type("q");
  EXPECT_EQ(process.Wait().code, 0);
}

TEST_F(MenuconfigTest, AProgramThatIsBrokenOffLeavesAUsableTerminal) {
  Subprocess process = Open({});
  terminal_.ReadUntil("menu");
  terminal_.Type("x");
  const std::string seen = terminal_.ReadUntil("try again");
  EXPECT_THAT(seen, HasSubstr("[x]\x1b[?1049l\x1b[0m\x1b[?25h"));
  EXPECT_EQ(process.Wait().code, 6);
  EXPECT_FALSE(terminal_.IsRaw());
}

TEST_F(MenuconfigTest, ASignalGivesTheTerminalBackToo) {
  Subprocess process = Open({});
  terminal_.ReadUntil("menu");
  terminal_.SignalForeground(SIGTERM);
  EXPECT_THAT(terminal_.ReadUntil("\x1b[?25h"), HasSubstr("\x1b[?1049l"));
  EXPECT_EQ(process.Wait().code, 130);
  EXPECT_FALSE(terminal_.IsRaw());
}

TEST_F(MenuconfigTest, WhatTheServerLacksIsShownWithItsExcerpt) {
  state().editor_status = ToGrpcStatus(
      MakeError(absl::StatusCode::kFailedPrecondition, Reason::kMissingTool,
                "install its package libncurses-dev there", {{"excerpt", "* Unable to find\n"}}));
  Subprocess process = Open({});
  EXPECT_THAT(terminal_.ReadUntil("| * Unable to find"), HasSubstr("libncurses-dev"));
  EXPECT_EQ(process.Wait().code, 1);
  EXPECT_FALSE(terminal_.IsRaw());
}

TEST_F(MenuconfigTest, WithoutATerminalNothingIsStarted) {
  const CliResult result = Run({"kernel", "menuconfig", "sources/s-1"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("needs a terminal"));
  EXPECT_TRUE(state().editor_starts.empty());
}

TEST_F(MenuconfigTest, APlaceThatCannotBeWrittenIsToldBeforeTheWork) {
  Subprocess process = Open({"-O", "no/such/place"});
  EXPECT_THAT(terminal_.ReadUntil("No such file"), HasSubstr("save to no/such/place"));
  EXPECT_EQ(process.Wait().code, 3);
  EXPECT_TRUE(state().editor_starts.empty());
}

}  // namespace
}  // namespace kdbg::test
