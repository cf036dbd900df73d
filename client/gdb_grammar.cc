#include "client/gdb_grammar.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <tuple>

#include "client/commands/debuginfod.h"
#include "client/commands/gdb_relay_commands.h"
#include "client/commands/ide.h"
#include "client/session_grammar.h"

namespace kdbg::client {
namespace {

constexpr char kTrustScriptsHelp[] =
    "load the lx- scripts of a kernel somebody else built: they run as you";

}  // namespace

void AddGdbOptions(CLI::App* command, GdbOptions& options) {
  command->add_option("--source-dir", options.source_directory,
                      "show lines from this tree instead of from the server");
  command->add_flag("--trust-scripts", options.trust_scripts, kTrustScriptsHelp);
}

namespace {

constexpr char kTakeOverHelp[] = "from another gdb, of a session of yours";

void AddIde(Grammar& grammar) {
  CLI::App* noun = grammar.Noun("ide", "a launch configuration for a session",
                                "  cd ~/linux; kdbgctl ide vscode s-7\n");
  for (const auto& [ide, name, description] :
       {std::tuple(Ide::kVscode, "vscode", "VS Code: an entry of .vscode/launch.json"),
        std::tuple(Ide::kEclipse, "eclipse", "Eclipse CDT: a .launch file to import"),
        std::tuple(Ide::kClion, "clion", "CLion: a file in .run")}) {
    auto options = std::make_shared<IdeOptions>();
    options->ide = ide;
    CLI::App* command = grammar.Command(
        noun, name, description,
        fmt::format("  cd ~/linux; kdbgctl ide {0} s-7\n"
                    "  kdbgctl ide {0} s-7 --source-dir ~/linux --output ~/launchers\n",
                    name),
        [=](Context& context) { return WriteIdeLaunch(context, *options); });
    command->add_option("SESSION", options->session, kSessionHelp)->required();
    command->add_option("--source-dir", options->source_directory,
                        "your source tree; default the one around this directory");
    command->add_option("--output", options->output, "where to write, default the source tree");
    command->add_flag("--trust-scripts", options->trust_scripts, kTrustScriptsHelp);
  }
}

}  // namespace

void AddGdb(Grammar& grammar) {
  auto gdb = std::make_shared<GdbOptions>();
  CLI::App* gdb_command =
      grammar.Command(nullptr, "gdb", "gdb on a session, with symbols, sources and lx- commands",
                      "  kdbgctl gdb s-7\n"
                      "  kdbgctl gdb s-7 -- -batch -ex 'break vfs_read' -ex continue -ex bt\n",
                      [=](Context& context) { return Gdb(context, *gdb); });
  gdb_command->add_option("SESSION", gdb->session, kSessionHelp)->required();
  AddGdbOptions(gdb_command, *gdb);
  gdb_command->add_option("GDB-ARGS", gdb->arguments, "after --, for gdb itself");
  gdb_command->add_flag("--take-over", gdb->take_over, kTakeOverHelp);
  auto session = std::make_shared<std::string>();
  auto take_over = std::make_shared<bool>(false);
  CLI::App* pipe = grammar.Command(
      nullptr, "gdb-pipe",
      "gdb's protocol on stdin and stdout, for target remote | kdbgctl gdb-pipe SESSION", "",
      [=](Context& context) { return GdbPipe(context, *session, *take_over); });
  pipe->add_option("SESSION", *session, kSessionHelp)->required();
  pipe->add_flag("--take-over", *take_over, kTakeOverHelp);
  auto listen = std::make_shared<std::string>("127.0.0.1:1234");
  CLI::App* forward = grammar.Command(
      nullptr, "gdb-forward", "a local port for IDEs", "  kdbgctl gdb-forward s-7 --listen :1234\n",
      [=](Context& context) { return GdbForward(context, *session, *listen); });
  forward->add_option("SESSION", *session, kSessionHelp)->required();
  forward->add_option("--listen", *listen, "[HOST]:PORT, default 127.0.0.1:1234");
  AddIde(grammar);
  auto port = std::make_shared<int>(0);
  grammar
      .Command(nullptr, "debuginfod", "symbols and sources by build id, for any gdb",
               "  kdbgctl debuginfod --port 8002\n",
               [=](Context& context) { return Debuginfod(context, *port); })
      ->add_option("--port", *port, "of the loopback; default any free one")
      ->check(CLI::Range(0, 65535));
}

}  // namespace kdbg::client
