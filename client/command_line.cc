#include "client/command_line.h"

#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "client/commands/artifact.h"
#include "client/commands/build.h"
#include "client/commands/console.h"
#include "client/commands/debug.h"
#include "client/commands/drain.h"
#include "client/commands/gdb_companion.h"
#include "client/commands/info.h"
#include "client/commands/initramfs.h"
#include "client/commands/kernel.h"
#include "client/commands/login.h"
#include "client/commands/menuconfig.h"
#include "client/commands/session.h"
#include "client/commands/source.h"
#include "client/commands/top.h"
#include "client/gdb_grammar.h"
#include "client/grammar.h"
#include "client/session_grammar.h"

namespace kdbg::client {
namespace {

void AddRepeated(CLI::App* command, const std::string& name, std::vector<std::string>& values,
                 const std::string& meaning) {
  command->add_option(name, values, meaning + "; repeatable")->allow_extra_args(false);
}

void AddPrivate(CLI::App* command, bool& is_private, std::vector<std::string>& readers) {
  CLI::Option* flag =
      command->add_flag("--private", is_private, "for you, those you name and admins only");
  command->add_option("--share-with", readers, "an account that may read it; repeatable")
      ->allow_extra_args(false)
      ->needs(flag);
}

// What decides a config.
void AddConfigOptions(CLI::App* command, KernelBuildOptions& options) {
  command->add_option("--arch", options.architecture, "x86_64, arm64 or riscv64");
  AddRepeated(command, "--config", options.configs,
              "a base (tiny, defconfig, NAME_defconfig), a whole .config or a fragment");
  AddRepeated(command, "--set", options.config_items, "CONFIG_X=y");
  command->add_option("--ref", options.source.ref, "branch, tag or commit, of a repository");
  AddRepeated(command, "--make", options.make_variables, "VARIABLE=VALUE for make");
}

void AddKernelOptions(CLI::App* command, KernelBuildOptions& options) {
  AddConfigOptions(command, options);
  command->add_option("--name", options.name, "a name of your own; also names the line of work");
  command->add_option("--sha256", options.source.sha256, "what the tarball of a URL must hash to");
  AddRepeated(command, "--patch", options.source.patches,
              "a patch, mail or mailbox to apply to the source, as git am would");
  AddPrivate(command, options.is_private, options.readers);
  command->add_flag("--clean", options.clean, "start from an empty build directory");
  command->add_flag("--no-cache", options.skip_cache, "compile even what the store has");
}

constexpr char kSourceHelp[] =
    "a directory or tarball, server:/PATH on the server, sources/ID or a URL";

void AddKernel(Grammar& grammar) {
  CLI::App* noun = grammar.Noun("kernel", "build kernels with debug information",
                                "  kdbgctl kernel build linux-6.1.tar.xz\n");
  auto options = std::make_shared<KernelBuildOptions>();
  auto server_path = std::make_shared<bool>(false);
  CLI::App* build = grammar.Command(
      noun, "build", "build a kernel from a source",
      "  kdbgctl kernel build ~/linux                 as it is: only what changed is sent\n"
      "  kdbgctl kernel build linux-6.1.tar.xz\n"
      "  kdbgctl kernel build server:/usr/src/linux-source-6.1.tar.xz --config defconfig\n"
      "  kdbgctl kernel build sources/s-7 --set CONFIG_KASAN=y --name kasan --detach\n",
      [=](Context& context) {
        if (*server_path) options->source.text = "server:" + options->source.text;
        return KernelBuild(context, *options);
      });
  build->add_option("SOURCE", options->source.text, kSourceHelp)->required();
  AddKernelOptions(build, *options);
  build->add_flag("--server-path", *server_path, "SOURCE is a path on the server");
  build->add_flag("--detach", options->detach, "do not wait for it");
  auto edit = std::make_shared<MenuconfigOptions>();
  CLI::App* menuconfig = grammar.Command(
      noun, "menuconfig", "edit a kernel's config with its own menuconfig, run on the server",
      "  kdbgctl kernel menuconfig linux-6.1.tar.xz                goes on with ./.config\n"
      "  kdbgctl kernel menuconfig sources/s-7 --config defconfig -O my.config\n",
      [=](Context& context) { return Menuconfig(context, *edit); });
  menuconfig->add_option("SOURCE", edit->kernel.source.text, kSourceHelp)->required();
  AddConfigOptions(menuconfig, edit->kernel);
  menuconfig->add_option("-O,--output", edit->output,
                         "the file to save to, default .config; without --config it is also where "
                         "to start");
  menuconfig->add_flag("--nconfig", edit->nconfig, "nconfig instead of menuconfig");
}

void AddInitramfs(Grammar& grammar) {
  CLI::App* noun = grammar.Noun("initramfs", "build root file systems",
                                "  kdbgctl initramfs build --busybox busybox-1.35.0.tar.bz2\n");
  auto options = std::make_shared<InitramfsBuildOptions>();
  CLI::App* build =
      grammar.Command(noun, "build", "build a BusyBox root file system",
                      "  kdbgctl initramfs build --busybox busybox-1.35.0.tar.bz2\n"
                      "  kdbgctl initramfs build --init my-init.sh --overlay tools/ --name tools\n",
                      [=](Context& context) { return InitramfsBuild(context, *options); });
  build->add_option("--busybox", options->busybox,
                    std::string(kSourceHelp) + "; default your newest BusyBox source");
  build->add_option("--name", options->name, "a name of your own");
  build->add_option("--arch", options->architecture, "x86_64, arm64 or riscv64");
  build->add_option("--init", options->init, "a program to be /init");
  AddRepeated(build, "--overlay", options->overlays, "a directory or tar file laid over the tree");
  build->add_option("--modules", options->modules, "a kernel build whose modules go in");
  AddRepeated(build, "--config", options->configs, "a file of BusyBox config items");
  AddRepeated(build, "--set", options->config_items, "CONFIG_X=y of BusyBox");
  build->add_option("--compress", options->compression,
                    "auto (what the kernel of --modules unpacks; else none), none, gzip or zstd");
  AddPrivate(build, options->is_private, options->readers);
  build->add_flag("--clean", options->clean, "start from an empty build directory");
  build->add_flag("--no-cache", options->skip_cache, "compile even what the store has");
  build->add_flag("--detach", options->detach, "do not wait for it");
}

constexpr char kBuildHelp[] = "a build's id or name";

void AddBuild(Grammar& grammar) {
  CLI::App* noun = grammar.Noun("build", "builds: what runs, what ran, their logs",
                                "  kdbgctl build list\n  kdbgctl build log -f b-7\n");
  auto all = std::make_shared<bool>(false);
  grammar
      .Command(
          noun, "list", "your builds, newest first", "",
          [=](Context& context) { return BuildList(context, *all ? Owners::kAll : Owners::kMine); })
      ->add_flag("--all", *all, "others' shared builds too");
  grammar.OneArgument(noun, "show", "one build", "BUILD", kBuildHelp, BuildShow);
  grammar.OneArgument(noun, "watch", "follow a build to its end", "BUILD", kBuildHelp, BuildWatch);
  auto log = std::make_shared<BuildLogOptions>();
  CLI::App* log_command = grammar.Command(
      noun, "log", "what make said", "  kdbgctl build log b-7\n  kdbgctl build log -f b-7\n",
      [=](Context& context) { return BuildLog(context, *log); });
  log_command->add_option("BUILD", log->build, kBuildHelp)->required();
  log_command->add_flag("-f,--follow", log->follow, "go on until the build ends");
  log_command->add_option("--since", log->since_bytes,
                          "from this byte; a negative number counts from the end");
  grammar.OneArgument(noun, "cancel", "end a build and every process of it", "BUILD", kBuildHelp,
                      BuildCancel);
  grammar.OneArgument(noun, "rm", "forget a build that has ended", "BUILD", kBuildHelp,
                      BuildDelete);
  auto share = std::make_shared<BuildShareOptions>();
  CLI::App* share_command = grammar.Command(
      noun, "share", "let a colleague see a private build and use what it made",
      "  kdbgctl build share embargoed alice\n  kdbgctl build share embargoed alice --take-back\n",
      [=](Context& context) { return BuildShare(context, *share); });
  share_command->add_option("BUILD", share->build, kBuildHelp)->required();
  share_command->add_option("USER", share->user, "an account on the server's host")->required();
  share_command->add_flag("--take-back", share->take_back, "no longer");
}

constexpr char kArtifactHelp[] = "an artifact's id, or a build's id or name";
void AddArtifact(Grammar& grammar) {
  CLI::App* noun = grammar.Noun("artifact", "what builds left behind",
                                "  kdbgctl artifact show a-7\n  kdbgctl artifact get a-7\n");
  auto all = std::make_shared<bool>(false);
  grammar
      .Command(noun, "list", "your artifacts, newest first", "",
               [=](Context& context) {
                 return ArtifactList(context, *all ? Owners::kAll : Owners::kMine);
               })
      ->add_flag("--all", *all, "others' shared artifacts too");
  grammar.OneArgument(noun, "show", "one artifact and its files", "ARTIFACT", kArtifactHelp,
                      ArtifactShow);
  auto get = std::make_shared<ArtifactGetOptions>();
  CLI::App* get_command =
      grammar.Command(noun, "get", "fetch files",
                      "  kdbgctl artifact get a-7                    everything, into ./a-7\n"
                      "  kdbgctl artifact get a-7 vmlinux config     two files, here\n"
                      "  kdbgctl artifact get a-7 config --stdout\n",
                      [=](Context& context) { return ArtifactGet(context, *get); });
  get_command->add_option("ARTIFACT", get->artifact, kArtifactHelp)->required();
  get_command->add_option("FILE", get->files, "paths below the artifact; none: all");
  get_command->add_option("--output", get->destination,
                          "the file, when one is named; else the directory");
  get_command->add_flag("--stdout", get->to_stdout, "one file, to standard output");
  grammar.OneArgument(noun, "pin", "keep an artifact", "ARTIFACT", kArtifactHelp, ArtifactPin);
  grammar.OneArgument(noun, "unpin", "take your pin back", "ARTIFACT", kArtifactHelp,
                      ArtifactUnpin);
  grammar.OneArgument(noun, "rm", "delete an artifact", "ARTIFACT", kArtifactHelp, ArtifactDelete);
  auto prune = std::make_shared<ArtifactPruneOptions>();
  CLI::App* prune_command =
      grammar.Command(noun, "prune", "delete what nobody has used for long",
                      "  kdbgctl artifact prune --dry-run\n"
                      "  kdbgctl artifact prune --unused-for 72h\n",
                      [=](Context& context) { return ArtifactPrune(context, *prune); });
  prune_command->add_flag("--dry-run", prune->dry_run, "only say what would go");
  prune_command->add_option("--unused-for", prune->unused_for,
                            "90m, 72h: default as the server does by itself");
  prune_command->add_flag_callback(
      "--all", [=] { prune->owners = Owners::kAll; }, "everybody's (admins)");
}

void AddSource(Grammar& grammar) {
  CLI::App* noun =
      grammar.Noun("source", "what the server has imported", "  kdbgctl source list\n");
  grammar.Command(noun, "list", "your sources, newest first", "", SourceList);
  grammar.OneArgument(noun, "show", "one source", "SOURCE", "a source's id", SourceShow);
  grammar.OneArgument(noun, "trust", "build for all", "SOURCE", "a source's id", SourceTrust);
  grammar.OneArgument(noun, "rm", "forget a source", "SOURCE", "a source's id", SourceDelete);
  auto source = std::make_shared<std::string>();
  auto path = std::make_shared<std::string>();
  CLI::App* cat = grammar.Command(
      noun, "cat", "print one file of a source", "  kdbgctl source cat s-7 init/main.c\n",
      [=](Context& context) { return SourceCat(context, *source, *path); });
  cat->add_option("SOURCE", *source, "a source's id")->required();
  cat->add_option("PATH", *path, "below the source root")->required();
}

void AddConsole(Grammar& grammar) {
  auto options = std::make_shared<ConsoleOptions>();
  CLI::App* command =
      grammar.Command(nullptr, "console", "the serial console, from its first byte",
                      "  kdbgctl console s-7                          ~. leaves\n"
                      "  kdbgctl console s-7 --read-only --no-follow  what it has said so far\n",
                      [=](Context& context) { return Console(context, *options); });
  command->add_option("SESSION", options->session, kSessionHelp)->required();
  command->add_flag("--read-only", options->read_only, "look on; may share with a writer");
  command->add_option("--since", options->since_bytes,
                      "from this byte; a negative number counts from the end");
  command->add_flag("--no-follow", options->no_follow, "end at the present end");
  command->add_flag("--take-over", options->take_over, "from another writer");
}

void AddDebug(Grammar& grammar) {
  auto options = std::make_shared<DebugOptions>();
  CLI::App* command = grammar.Command(
      nullptr, "debug", "build if SOURCE is given, create a session, open gdb on it",
      "  kdbgctl debug --break vfs_read\n"
      "  kdbgctl debug . --break vfs_read              what changed in this work tree\n",
      [=](Context& context) {
        // Without SOURCE its place is taken by what follows --.
        std::string& source = options->kernel.source.text;
        if (source.starts_with('-')) {
          auto& arguments = options->gdb.arguments;
          arguments.insert(arguments.begin(), source);
          source.clear();
        }
        return Debug(context, *options);
      });
  command->add_option("SOURCE", options->kernel.source.text, kSourceHelp);
  AddRepeated(command, "--break", options->breakpoints, "a function or file:line");
  command->add_option("--kernel", options->session.kernel,
                      "without SOURCE: build id or name; default your newest");
  AddKernelOptions(command, options->kernel);
  AddSessionOptions(command, options->session);
  command->add_flag("--keep", options->keep, "keep the session when gdb ends");
  AddGdbOptions(command, options->gdb);
  command->add_option("GDB-ARGS", options->gdb.arguments, "after --, for gdb itself");
}

void AddServer(Grammar& grammar) {
  grammar.Command(nullptr, "info", "what the server is and can do", "", Info);
  grammar.Command(nullptr, "top", "builds and sessions as they go on; q leaves",
                  "  kdbgctl top                    in a terminal\n"
                  "  kdbgctl top | mail -s now me   once, as it is now\n",
                  Top);
  auto options = std::make_shared<DrainOptions>();
  CLI::App* drain = grammar.Command(
      nullptr, "drain", "take nothing new, and say whom that concerns (admins)",
      "  kdbgctl drain --reason \"new kernel at 18:00\" --wait   until no build is left\n"
      "  kdbgctl drain --requeue                      stop builds; they go on from their objects\n",
      [=](Context& context) { return Drain(context, *options); });
  drain->add_option("--reason", options->reason, "told to whoever is refused");
  CLI::Option* requeue = drain->add_flag("--requeue", options->requeue,
                                         "queue again what runs, until undrain or a restart");
  drain->add_flag("--wait", options->wait, "until no build is left")->excludes(requeue);
  grammar.Command(nullptr, "undrain", "take new work again (admins)", "", Undrain);
}

void AddLogin(Grammar& grammar) {
  auto options = std::make_shared<LoginOptions>();
  CLI::App* command =
      grammar.Command(nullptr, "login", "enrol this machine with a server, by a one-time code",
                      "  kdbgctl login buildhost:7443 --code kdbg-...\n"
                      "  kdbgctl login buildhost:7443             asks for the code\n",
                      [=](Context& context) { return Login(context, *options); });
  command->add_option("HOST:PORT", options->address, "where it listens for TLS")->required();
  command->add_option("--code", options->code,
                      "as `kdbgd user add` printed it; default: from standard input");
}

void AddHidden(Grammar& grammar) {
  grammar
      .Command(nullptr, "dial-stdio", "the other end of ssh://", "",
               [](Context& context) -> CommandEnd {
                 KDBG_ASSIGN_OR_RETURN(const ServerAddress address, context.Address());
                 const auto* local = std::get_if<UnixAddress>(&address);
                 if (local == nullptr) {
                   return absl::InvalidArgumentError("dial-stdio needs a server on this host");
                 }
                 KDBG_RETURN_IF_ERROR(DialStdio(local->socket, 0, 1));
                 return kExitDone;
               })
      ->group(kHidden);
  auto options = std::make_shared<GdbCompanionOptions>();
  CLI::App* companion =
      grammar.Command(nullptr, "gdb-companion", "what stands beside gdb on a session", "",
                      [=](Context& context) { return AccompanyGdb(context, *options); });
  companion->group(kHidden);
  companion->add_option("SESSION", options->session)->required();
  companion->add_flag("--take-over", options->take_over);
  auto session = std::make_shared<std::string>();
  CLI::App* end_session =
      grammar.Command(nullptr, "end-session", "once standard input has ended", "",
                      [=](Context& context) { return EndSessionAfterInput(context, *session); });
  end_session->group(kHidden);
  end_session->add_option("SESSION", *session)->required();
}

}  // namespace

std::variant<ParsedCommand, int> ParseCommandLine(int argc, char** argv) {
  Grammar grammar;
  AddServer(grammar);
  AddKernel(grammar);
  AddInitramfs(grammar);
  AddBuild(grammar);
  AddArtifact(grammar);
  AddSession(grammar);
  AddGdb(grammar);
  AddConsole(grammar);
  AddDebug(grammar);
  AddSource(grammar);
  AddLogin(grammar);
  AddHidden(grammar);
  return grammar.Parse(argc, argv);
}

}  // namespace kdbg::client
