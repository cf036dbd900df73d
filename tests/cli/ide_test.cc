// Launch configurations for development environments, read back by somebody else's parsers.
#include <gmock/gmock.h>

#include <fstream>
#include <sstream>

#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class IdeTest : public CliTest {
 protected:
  IdeTest() : tree_((home_ / "my <linux> & co").string()) {
    WriteFile("my <linux> & co/init/main.c", "start_kernel\n");
    AddSession({{"vmlinux", "elf bytes"},
                {"vmlinux-gdb.py", "import linux"},
                {"scripts/gdb/linux/utils.py", "pass"}});
  }
  // What a Python program prints that gets `path` as its argument.
  std::string Python(const std::string& program, const std::string& path) {
    Subprocess::Options options;
    options.argv = {"python3", "-c", program, path};
    const auto result = RunCommand(options);
    return result->output + result->error;
  }
  CliResult Ide(const std::string& ide, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"ide", ide, "s-1", "--source-dir", tree_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }

  const std::string tree_;
};

TEST_F(IdeTest, VscodeGetsGdbSymbolsPortAndBothWaysOfTheSource) {
  const CliResult result = Ide("vscode");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("Run and Debug, kdbg-s-1"));
  EXPECT_EQ(Python("import json, sys\n"
                   "one, = json.load(open(sys.argv[1]))['configurations']\n"
                   "print(one['name'], one['miDebuggerPath'], one['miDebuggerServerAddress'])\n"
                   "print(one['sourceFileMap']['/src']['editorPath'])\n"
                   "print(open(one['program']).read())\n",
                   tree_ + "/.vscode/launch.json"),
            "kdbg-s-1 gdb 127.0.0.1:9\n" + tree_ + "\nelf bytes\n");
  const std::string settings = Content(home_ / "cache/kdbg/sessions/s-1/vscode.gdb");
  EXPECT_THAT(settings, HasSubstr("set substitute-path /src \"" + tree_ + "\"\n"));
  EXPECT_THAT(settings, HasSubstr("source " + home_.string()));
  EXPECT_THAT(settings, Not(HasSubstr("target remote"))) << "that is the environment's part";
}

TEST_F(IdeTest, AnExistingLaunchJsonKeepsWhatIsInIt) {
  const std::string file = tree_ + "/.vscode/launch.json";
  const std::string mine = "// mine\n{\"configurations\": [{\"name\": \"mine\"}, /* more */ ]}\n";
  std::filesystem::create_directories(tree_ + "/.vscode");
  std::ofstream(file) << mine;
  ASSERT_EQ(Ide("vscode").exit_code, 0);
  ASSERT_EQ(Ide("vscode").exit_code, 0) << "again, in the same place";
  const std::string text = Content(file);
  EXPECT_THAT(text, HasSubstr("// mine\n{\"configurations\": [{\"name\": \"mine\"}, /* more */\n"));
  EXPECT_EQ(text.find("kdbg-s-1"), text.rfind("kdbg-s-1"));
  std::ofstream(file) << "{ \"configurations\": [\n";
  const CliResult broken = Ide("vscode");
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(broken.err, HasSubstr(file + ": line 2: there should be a value; it is left as it"));
  EXPECT_EQ(Content(file), "{ \"configurations\": [\n");
}

TEST_F(IdeTest, AnExistingLaunchJsonStaysTheLinkAndAsSecretAsItIs) {
  const std::filesystem::path real = WriteFile("dotfiles/launch.json", "{}");
  std::filesystem::permissions(
      real, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::create_directories(tree_ + "/.vscode");
  std::filesystem::create_symlink(real, tree_ + "/.vscode/launch.json");
  ASSERT_EQ(Ide("vscode").exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(tree_ + "/.vscode/launch.json"));
  EXPECT_THAT(Content(real), HasSubstr("kdbg-s-1"));
  EXPECT_EQ(std::filesystem::status(real).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(IdeTest, EclipseGetsALaunchFileToImport) {
  ASSERT_EQ(Ide("eclipse").exit_code, 0);
  EXPECT_EQ(
      Python(
          "import sys, xml.etree.ElementTree as xml\n"
          "keys = {one.get('key'): one.get('value') for one in xml.parse(sys.argv[1]).getroot()}\n"
          "print(keys['org.eclipse.cdt.debug.gdbjtag.core.connection'])\n"
          "print(open(keys['org.eclipse.cdt.debug.gdbjtag.core.symbolsFileName']).read())\n"
          "print('set ' in open(keys['org.eclipse.cdt.dsf.gdb.GDB_INIT']).read())\n"
          "lookup = xml.fromstring(keys['org.eclipse.debug.core.source_locator_memento'])\n"
          "mapping = xml.fromstring(lookup.find('.//container').get('memento'))\n"
          "entry = xml.fromstring(mapping.find('mapEntry').get('memento'))\n"
          "print(entry.get('backendPath'), entry.get('localPath'))\n",
          tree_ + "/.eclipse/kdbg-s-1.launch"),
      "gdb:127.0.0.1:9\nelf bytes\nTrue\n/src " + tree_ + "\n");
}

TEST_F(IdeTest, ClionGetsAGdbThatReadsTheSettings) {
  WriteProgram("gdb", "#!/bin/sh\nfor a; do echo \"arg $a\"; done\n");
  ASSERT_EQ(Ide("clion").exit_code, 0);
  const std::string gdb = Python(
      "import sys, xml.etree.ElementTree as xml\n"
      "one = xml.parse(sys.argv[1]).getroot().find('configuration')\n"
      "assert one.get('remoteCommand') == '127.0.0.1:9', one.attrib\n"
      "assert one.find('pathMapping').get('remote') == '/src'\n"
      "print(one.findtext('debugger'), end='')",
      tree_ + "/.run/kdbg-s-1.run.xml");
  Subprocess::Options options;
  options.argv = {gdb, "--interpreter=mi2"};
  options.environment = environment_;
  const auto started = RunCommand(options);
  ASSERT_TRUE(started.ok()) << gdb;
  EXPECT_EQ(started->output, "arg -ix\narg " +
                                 (home_ / "cache/kdbg/sessions/s-1/clion.gdb").string() +
                                 "\narg --interpreter=mi2\n");
}

TEST_F(IdeTest, JsonSaysWhatWasWrittenAndOutputWhere) {
  const CliResult result = Ide("vscode", {"--output", "launchers", "-o", "json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::string file = (home_ / "launchers/.vscode/launch.json").string();
  WriteFile("said.json", result.out);
  EXPECT_EQ(Python("import json, sys\nsaid = json.load(open(sys.argv[1]))\n"
                   "print(said['ide'], said['file'], said['target'])",
                   (home_ / "said.json").string()),
            "vscode " + file + " 127.0.0.1:9\n");
  EXPECT_TRUE(std::filesystem::exists(file));
  EXPECT_EQ(Ide("eclipse", {"-o", "name"}).out, tree_ + "/.eclipse/kdbg-s-1.launch\n");
}

TEST_F(IdeTest, FarAwayTheTargetIsAPipe) {
  WriteProgram("ssh",
               "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2; exec sh -c \"$*\"\n");
  const std::string server = "ssh://box" + (home_ / "kdbgd.sock").string();
  const CliResult result = Ide("vscode", {"--server", server});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(Content(tree_ + "/.vscode/launch.json"),
              HasSubstr("kdbgctl --server " + server + " gdb-pipe s-1\""));
}

TEST_F(IdeTest, SomebodyElsesScriptsAreLeftOutUnlessTrusted) {
  state().artifacts["artifacts/a-1"].set_owner("mallory");
  const auto settings = home_ / "cache/kdbg/sessions/s-1/vscode.gdb";
  EXPECT_THAT(Ide("vscode").err, HasSubstr("mallory built this kernel"));
  EXPECT_THAT(Content(settings), Not(HasSubstr("load_scripts.py")));
  EXPECT_EQ(Ide("vscode", {"--trust-scripts"}).exit_code, 0);
  EXPECT_THAT(Content(settings), HasSubstr("load_scripts.py"));
}

TEST_F(IdeTest, TheTreeAroundTheWorkingDirectoryIsTaken) {
  const CliResult outside = Run({"ide", "vscode", "s-1"});
  EXPECT_EQ(outside.exit_code, 1);
  EXPECT_THAT(outside.err, HasSubstr("in no kernel source tree: go to yours, or name it with"));
  WriteFile("init/main.c", "start_kernel\n");
  EXPECT_EQ(Run({"ide", "vscode", "s-1"}).exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(home_ / ".vscode/launch.json"));
}

TEST_F(IdeTest, MistakesAreTold) {
  EXPECT_EQ(Run({"ide", "vscode", "s-9", "--source-dir", tree_}).exit_code, 3);
  const CliResult no_tree = Run({"ide", "vscode", "s-1", "--source-dir", "nowhere"});
  EXPECT_EQ(no_tree.exit_code, 3);
  EXPECT_THAT(no_tree.err, HasSubstr("--source-dir nowhere: no such directory"));
  std::filesystem::create_directories(home_ / "empty");
  EXPECT_THAT(Run({"ide", "clion", "s-1", "--source-dir", "empty"}).err,
              HasSubstr("no kernel source tree, it has no init/main.c"));
  EXPECT_THAT(Run({"ide", "emacs", "s-1"}).err, HasSubstr("unknown command 'emacs'"));
  state().artifacts["artifacts/a-1"].clear_files();
  EXPECT_THAT(Ide("vscode").err, HasSubstr("no vmlinux with a build id"));
  state().sessions["sessions/s-1"].set_state(v1::Session::ENDED);
  EXPECT_THAT(Ide("vscode").err, HasSubstr("sessions/s-1 is ENDED: create another"));
}

}  // namespace
}  // namespace kdbg::test
