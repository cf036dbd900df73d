#include "client/session_grammar.h"

#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

namespace kdbg::client {

void AddSessionOptions(CLI::App* command, SessionCreateOptions& options) {
  command->add_option("--initramfs", options.initramfs,
                      "build id or name, or none; default your newest");
  command->add_option("--cpus", options.cpus, "default 1")->check(CLI::PositiveNumber);
  command->add_option("--memory", options.memory, "256M, 2G; default 256M");
  command->add_option("--append", options.append, "more for the kernel's command line");
  command->add_option("--stop-at", options.stop_at,
                      "start_kernel (default), another function, shell, reset or none");
  command->add_option("--accel", options.accelerator, "auto (default), kvm or tcg");
  command->add_option("--ttl", options.ttl, "how long it lives: 90m, 2h");
  command->add_option("--on-panic", options.on_panic, "stay (default), dump or reset");
  command->add_option("--on-expiry", options.on_expiry, "end (default), or dump first");
  command->add_flag("--kaslr", options.kaslr, "let the kernel place itself at random");
  command->add_flag("--queue", options.queue, "wait for quota instead of failing");
  command->add_flag("--net", options.net, "a network of its own, from which it reaches nothing");
  command
      ->add_option(
          "--forward", options.forwards,
          "port of the guest that the server's host can reach; more than once; means --net")
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT");
  command->add_option("--disk", options.disk,
                      "one of the server's images, as /dev/vda; what is written goes with a reset");
  command->add_option("--share", options.folder,
                      "a directory, or a tar of one, that the guest reads at /mnt");
  command
      ->add_option("--device", options.devices,
                   "edu, e1000e, i6300esb, pci-testdev, rng or xhci; more than once")
      ->type_name("NAME");
}

namespace {

void AddSessionShare(Grammar& grammar, CLI::App* noun) {
  auto share = std::make_shared<SessionShareOptions>();
  CLI::App* command = grammar.Command(
      noun, "share", "let a colleague look at it or work with it",
      "  kdbgctl session share vm-7 alice              # state and console\n"
      "  kdbgctl session share vm-7 alice --control    # gdb, console input, pause\n"
      "  kdbgctl session share vm-7 alice --take-back\n",
      [=](Context& context) { return SessionShare(context, *share); });
  command->add_option("SESSION", share->session, kSessionHelp)->required();
  command->add_option("USER", share->user, "an account on the server's host")->required();
  CLI::Option* control = command->add_flag("--control", share->control, "everything but its end");
  command->add_flag("--take-back", share->take_back, "no longer")->excludes(control);
}

void AddSessionDump(Grammar& grammar, CLI::App* noun) {
  auto dump = std::make_shared<SessionDumpOptions>();
  CLI::App* command = grammar.Command(
      noun, "dump", "its memory as an artifact: vmcore, and the vmlinux for it",
      "  kdbgctl session dump vm-7\n"
      "  kdbgctl session dump vm-7 --output /tmp/oops; cd /tmp/oops; gdb vmlinux vmcore\n",
      [=](Context& context) { return SessionDump(context, *dump); });
  command->add_option("SESSION", dump->session, kSessionHelp)->required();
  command->add_option("--format", dump->format,
                      "elf, for gdb (the default); kdump-zlib, smaller, for crash");
  command->add_option("--output", dump->destination, "fetch it, too, into this directory");
}

void AddSessionRestore(Grammar& grammar, CLI::App* noun) {
  grammar.OneArgument(noun, "save", "its whole state as an artifact; it goes on as it was",
                      "SESSION", kSessionHelp, SessionSave);
  auto restore = std::make_shared<SessionRestoreOptions>();
  CLI::App* command = grammar.Command(
      noun, "restore", "another session, halted where one was saved",
      "  kdbgctl session save vm-7\n  kdbgctl session restore a-5ybn7tgm --ttl 4h\n",
      [=](Context& context) { return SessionRestore(context, *restore); });
  command->add_option("ARTIFACT", restore->artifact, "what session save made")->required();
  command->add_option("--ttl", restore->ttl, "how long it lives: 90m, 2h");
  command->add_flag("--queue", restore->queue, "wait for quota instead of failing");
  command->add_flag("--no-wait", restore->no_wait, "do not wait until it is ready");
}

}  // namespace

void AddSession(Grammar& grammar) {
  CLI::App* noun = grammar.Noun("session", "guests on lease",
                                "  kdbgctl session create\n  kdbgctl session list\n");
  auto create = std::make_shared<SessionCreateOptions>();
  CLI::App* create_command =
      grammar.Command(noun, "create", "boot a kernel and stop where it can be debugged",
                      "  kdbgctl session create\n"
                      "  kdbgctl session create --kernel kasan --memory 1G --stop-at shell\n"
                      "  kdbgctl session create --stop-at vfs_read --append 'loglevel=8'\n"
                      "  kdbgctl session create --stop-at none --forward 22\n",
                      [=](Context& context) { return SessionCreate(context, *create); });
  create_command->add_option("--kernel", create->kernel, "build id or name; default your newest");
  AddSessionOptions(create_command, *create);
  create_command->add_flag("--no-wait", create->no_wait, "do not wait until it is ready");
  auto all = std::make_shared<bool>(false);
  auto ended = std::make_shared<bool>(false);
  CLI::App* list =
      grammar.Command(noun, "list", "your sessions, newest first", "", [=](Context& context) {
        return SessionList(context, *all ? Owners::kAll : Owners::kMine,
                           *ended ? Ended::kInclude : Ended::kLeaveOut);
      });
  list->add_flag("--all", *all, "others' too: who holds what");
  list->add_flag("--ended", *ended, "ended ones too");
  grammar.OneArgument(noun, "show", "one session", "SESSION", kSessionHelp, SessionShow);
  grammar.OneArgument(noun, "watch", "tell every change until it ends", "SESSION", kSessionHelp,
                      SessionWatch);
  auto renew = std::make_shared<std::string>();
  auto ttl = std::make_shared<std::string>();
  CLI::App* renew_command =
      grammar.Command(noun, "renew", "move the expiry", "  kdbgctl session renew s-7 --ttl 4h\n",
                      [=](Context& context) { return SessionRenew(context, *renew, *ttl); });
  renew_command->add_option("SESSION", *renew, kSessionHelp)->required();
  renew_command->add_option("--ttl", *ttl, "from now: 90m, 2h");
  grammar.OneArgument(noun, "pause", "halt the guest", "SESSION", kSessionHelp, SessionPause);
  grammar.OneArgument(noun, "resume", "let it run", "SESSION", kSessionHelp, SessionResume);
  grammar.OneArgument(noun, "reset", "boot it anew, back to its stop point", "SESSION",
                      kSessionHelp, SessionReset);
  auto remove = std::make_shared<std::vector<std::string>>();
  grammar
      .Command(noun, "rm", "end sessions: gdb, console, port and VM together", "",
               [=](Context& context) { return SessionDelete(context, *remove); })
      ->add_option("SESSION", *remove, "sessions' ids")
      ->required();
  AddSessionShare(grammar, noun);
  AddSessionDump(grammar, noun);
  AddSessionRestore(grammar, noun);
}

}  // namespace kdbg::client
