// Sessions, artifacts, the console and gdb from the user's side.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "proto/support/sha256.h"
#include "proto/support/unique_fd.h"
#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using SessionTest = CliTest;

std::string Content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST_F(SessionTest, CreateWaitsUntilReadyAndSaysWhatNext) {
  AddSession({});
  const CliResult result =
      Run({"session", "create", "--memory", "1G", "--cpus", "2", "--stop-at", "vfs_read", "--ttl",
           "90m", "--append", "loglevel=8", "--accel", "tcg", "--initramfs", "none"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("State:       READY, halted"));
  EXPECT_THAT(result.err, HasSubstr("next: kdbgctl gdb s-1"));
  const v1::Session session = state().created_sessions.back().session();
  EXPECT_EQ(session.shape().memory_mib(), 1024);
  EXPECT_EQ(session.shape().vcpu_count(), 2);
  EXPECT_EQ(session.shape().accelerator(), v1::GuestShape::TCG);
  EXPECT_EQ(session.stop_point().symbol(), "vfs_read");
  EXPECT_EQ(session.ttl().seconds(), 5400);
  EXPECT_EQ(session.initramfs(), "none");
  EXPECT_EQ(session.kernel_arguments(), "loglevel=8");
}

TEST_F(SessionTest, AGuestThatPanicsFailsTheCommandWithItsLastWords) {
  AddSession({});
  v1::Session& session = state().sessions["sessions/s-1"];
  session.set_state(v1::Session::CRASHED);
  session.mutable_failure()->set_reason("GUEST_PANICKED");
  session.mutable_failure()->set_message("the kernel panicked before start_kernel");
  session.mutable_failure()->set_excerpt("Kernel panic - not syncing: no init");
  session.set_console_size_bytes(10);
  const CliResult result = Run({"session", "create"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("  | Kernel panic - not syncing: no init"));
  EXPECT_THAT(result.err, HasSubstr("kdbgctl console s-1 --read-only"));
}

TEST_F(SessionTest, WhatItIsToDoByItselfIsSentAndShown) {
  AddSession({});
  ASSERT_EQ(Run({"session", "create", "--on-panic", "dump", "--on-expiry", "dump"}).exit_code, 0);
  const v1::Session sent = state().created_sessions.back().session();
  EXPECT_EQ(sent.on_panic(), v1::Session::DUMP);
  EXPECT_EQ(sent.on_expiry(), v1::Session::DUMP_AND_END);
  v1::Session& session = state().sessions["sessions/s-1"];
  session.set_on_panic(sent.on_panic());
  session.set_on_expiry(sent.on_expiry());
  session.set_last_dump("artifacts/a-dump");
  const CliResult shown = Run({"session", "show", "s-1"});
  EXPECT_THAT(shown.out, HasSubstr("dumped on a panic, dumped when its lease ends"));
  EXPECT_THAT(shown.out, HasSubstr("a-dump"));
  const CliResult wrong = Run({"session", "create", "--on-panic", "reboot"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("--on-panic reboot: write stay, dump or reset"));
}

TEST_F(SessionTest, ADiskIsAskedForByTheNameOfItsImage) {
  AddSession({});
  ASSERT_EQ(Run({"session", "create", "--disk", "debian.qcow2"}).exit_code, 0);
  EXPECT_EQ(state().created_sessions.back().session().disk().image(), "debian.qcow2");
  state().sessions["sessions/s-1"].mutable_disk()->set_image("debian.qcow2");
  EXPECT_THAT(Run({"session", "show", "s-1"}).out, HasSubstr("debian.qcow2"));
}

TEST_F(SessionTest, AFolderIsPackedAndSentAndDevicesAreNamed) {
  AddSession({});
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "shared-folder";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "hello") << "hello";
  ASSERT_EQ(
      Run({"session", "create", "--share", folder.string(), "--device", "edu", "--device", "rng"})
          .exit_code,
      0);
  const v1::Session& asked = state().created_sessions.back().session();
  EXPECT_THAT(asked.folder().upload(), StartsWith("uploads/"));
  EXPECT_THAT(asked.devices(), ElementsAre("edu", "rng"));
  *state().sessions["sessions/s-1"].mutable_folder() = asked.folder();
  *state().sessions["sessions/s-1"].mutable_devices() = asked.devices();
  EXPECT_THAT(Run({"session", "show", "s-1"}).out, HasSubstr("edu, rng"));
  const CliResult wrong = Run({"session", "create", "--share", (folder / "missing").string()});
  EXPECT_NE(wrong.exit_code, 0);
  EXPECT_THAT(wrong.err, HasSubstr("missing"));
  std::filesystem::remove_all(folder);
}

TEST_F(SessionTest, ANetworkIsAskedForAndItsForwardsAreShown) {
  AddSession({});
  ASSERT_EQ(Run({"session", "create", "--net"}).exit_code, 0);
  EXPECT_TRUE(state().created_sessions.back().session().has_network());
  ASSERT_EQ(Run({"session", "create", "--forward", "22", "--forward", "80"}).exit_code, 0);
  const v1::Session sent = state().created_sessions.back().session();
  ASSERT_EQ(sent.network().forwards_size(), 2);
  EXPECT_EQ(sent.network().forwards(1).guest_port(), 80);
  v1::Session& session = state().sessions["sessions/s-1"];
  *session.mutable_network() = sent.network();
  session.mutable_network()->mutable_forwards(0)->set_host("127.0.0.1");
  session.mutable_network()->mutable_forwards(0)->set_port(21003);
  EXPECT_THAT(Run({"session", "show", "s-1"}).out,
              HasSubstr("127.0.0.1:21003 to its port 22, its port 80"));
  ASSERT_EQ(Run({"session", "create"}).exit_code, 0);
  EXPECT_FALSE(state().created_sessions.back().session().has_network());
  for (const char* wrong : {"0", "65536", "22:22", "ssh"}) {
    EXPECT_EQ(Run({"session", "create", "--forward", wrong}).exit_code, 2) << wrong;
  }
}

TEST_F(SessionTest, ResetWaitsUntilItIsReady) {
  AddSession({});
  const CliResult result = Run({"-o", "json", "session", "reset", "s-1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"state\": \"READY\""));
  EXPECT_EQ(Run({"session", "reset", "s-2"}).exit_code, 3);
}

TEST_F(SessionTest, ADumpIsNamedWithHowToOpenIt) {
  AddSession({});
  const CliResult result = Run({"session", "dump", "s-1"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Artifact:"));
  EXPECT_THAT(result.err, HasSubstr("kdbgctl artifact get a-dump; gdb a-dump/vmlinux"));
  EXPECT_EQ(Run({"-o", "name", "session", "dump", "s-1", "--format", "kdump-zlib"}).out,
            "artifacts/a-dump\n");
  EXPECT_EQ(state().dumps.back().format(), v1::DumpSessionRequest::KDUMP_ZLIB);
  EXPECT_EQ(Run({"session", "dump", "s-2"}).exit_code, 3);
  EXPECT_EQ(Run({"session", "dump", "s-1", "--format", "raw"}).exit_code, 2);
}

TEST_F(SessionTest, SaveNamesTheStateAndRestoreGoesOnFromIt) {
  AddSession({});
  const CliResult saved = Run({"session", "save", "s-1"});
  EXPECT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_THAT(saved.err, HasSubstr("next: kdbgctl session restore a-saved"));
  const CliResult restored = Run({"-o", "json", "session", "restore", "a-1", "--ttl", "90m"});
  EXPECT_EQ(restored.exit_code, 0) << restored.err;
  EXPECT_THAT(restored.out, HasSubstr("\"state\": \"READY\""));
  EXPECT_EQ(state().restores.back().artifact(), "artifacts/a-1");
  EXPECT_EQ(state().restores.back().ttl().seconds(), 5400);
  EXPECT_EQ(Run({"session", "save", "s-2"}).exit_code, 3);
}

TEST_F(SessionTest, SeveralAreRemovedAtOnce) {
  AddSession({});
  EXPECT_EQ(Run({"session", "rm", "s-1", "sessions/s-2"}).exit_code, 0);
  EXPECT_TRUE(state().sessions.empty());
}

TEST_F(SessionTest, ArtifactFilesArriveWholeOrNotAtAll) {
  AddSession({{"config", "CONFIG_X=y\n"}, {"vmlinux", std::string(300'000, 'v')}});
  EXPECT_EQ(Run({"artifact", "get", "a-1"}).exit_code, 0);
  EXPECT_EQ(Content(home_ / "a-1/vmlinux").size(), 300'000u);
  EXPECT_EQ(Run({"artifact", "get", "a-1", "config", "--stdout"}).out, "CONFIG_X=y\n");
  EXPECT_EQ(Run({"artifact", "get", "a-1", "config", "--output", "my.config"}).exit_code, 0);
  EXPECT_EQ(Content(home_ / "my.config"), "CONFIG_X=y\n");
  EXPECT_EQ(Run({"artifact", "get", "a-1", "nothing"}).exit_code, 3);
  state().artifact_files["config"] = "other bytes";
  const CliResult corrupt = Run({"artifact", "get", "a-1", "config", "--output", "bad.config"});
  EXPECT_EQ(corrupt.exit_code, 1);
  EXPECT_THAT(corrupt.err, HasSubstr("digest"));
  EXPECT_FALSE(std::filesystem::exists(home_ / "bad.config"));
}

TEST_F(SessionTest, PruneShowsWhatGoesAndADryRunSaysSo) {
  AddSession({{"config", "CONFIG_X=y\n"}});
  const CliResult dry = Run({"artifact", "prune", "--dry-run", "--unused-for", "72h"});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_THAT(dry.out, HasSubstr("a-1"));
  EXPECT_THAT(dry.err, HasSubstr("would delete 1 artifact, "));
  EXPECT_TRUE(state().prunes[0].dry_run());
  EXPECT_EQ(state().prunes[0].unused_for().seconds(), 72 * 3600);
  EXPECT_THAT(Run({"artifact", "prune", "--all"}).err, HasSubstr("deleted 1 artifact"));
  EXPECT_TRUE(state().prunes[1].all_owners());
  EXPECT_FALSE(state().prunes[1].has_unused_for());
}

TEST_F(SessionTest, AFileNameThatLeavesItsDirectoryIsRefused) {
  AddSession({{"../evil", "x"}});
  const CliResult result = Run({"artifact", "get", "a-1"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(home_ / "evil"));
}

TEST_F(SessionTest, TheConsoleIsReplayedFromItsFirstByte) {
  state().console = "Linux version 6.1\n";
  EXPECT_EQ(Run({"console", "s-1", "--no-follow"}).out, "Linux version 6.1\n");
  EXPECT_EQ(Run({"console", "s-1", "--no-follow", "--since", "6"}).out, "version 6.1\n");
}

TEST_F(SessionTest, PipedInputGoesToTheGuestAndItsAnswerComesBack) {
  state().console = "/ $ ";
  EXPECT_EQ(Run({"console", "s-1"}, "uname\n").out, "/ $ [uname\n]");
}

TEST_F(SessionTest, TildeDotLeavesTheConsoleAndTheTerminalIsAsBefore) {
  state().console = "login: ";
  Terminal terminal;
  Subprocess process = Start({"console", "s-1"},
                             {{0, terminal.slave()}, {1, terminal.slave()}, {2, terminal.slave()}});
  terminal.ReadUntil("login: ");
  EXPECT_TRUE(terminal.IsRaw());
  terminal.Type("ls\r");
  EXPECT_THAT(terminal.ReadUntil("]"), HasSubstr("[ls\r]"));
  terminal.Type("~.");
  EXPECT_EQ(process.Wait().code, 0);
  EXPECT_FALSE(terminal.IsRaw());
}

TEST_F(SessionTest, ASignalAlsoGivesTheTerminalBack) {
  state().console = "login: ";
  Terminal terminal;
  Subprocess process = Start({"console", "s-1"},
                             {{0, terminal.slave()}, {1, terminal.slave()}, {2, terminal.slave()}});
  terminal.ReadUntil("login: ");
  EXPECT_TRUE(terminal.IsRaw());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait().code, 130);
  EXPECT_FALSE(terminal.IsRaw());
}

TEST_F(SessionTest, GdbPipeCarriesPacketsBothWays) {
  EXPECT_EQ(Run({"gdb-pipe", "s-1"}, "+$qSupported#37").out, "+$qSupported#37");
  EXPECT_EQ(state().gdb_input, "$qSupported#37") << "acknowledged here, not there";
}

TEST_F(SessionTest, AHeldSessionIsBusyAndNamesTheHolder) {
  AddSession({{"vmlinux", "elf"}});
  state().sessions["sessions/s-1"].mutable_gdb()->set_holder("tcp 127.0.0.1:5123");
  const CliResult result = Run({"gdb", "s-1"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, HasSubstr("held by another gdb: tcp 127.0.0.1:5123"));
}

TEST_F(SessionTest, GdbPipeTakesOverWhenAsked) {
  Run({"gdb-pipe", "s-1", "--take-over"}, "$g#67");
  EXPECT_TRUE(state().gdb_took_over);
}

class GdbTest : public CliTest {
 protected:
  GdbTest() {
    // Shows how it was started; the init file, too.
    WriteProgram("gdb",
                 "#!/bin/sh\nfor a; do echo \"arg $a\"; done\n"
                 "cat \"$HOME/cache/kdbg/sessions/s-1/init.gdb\"\n"
                 "echo urls $DEBUGINFOD_URLS\n");
    AddSession({{"vmlinux", "elf bytes"},
                {"vmlinux.gdb-index", "index"},
                {"vmlinux-gdb.py", "import linux"},
                {"scripts/gdb/linux/utils.py", "pass"}});
  }
  // Soon: what ends it outlives the command that we ran.
  bool SessionEnded(const std::string& name) {
    absl::MutexLock lock(&state().mutex);
    const auto gone = [&] { return state().sessions.count(name) == 0; };
    return state().mutex.AwaitWithTimeout(absl::Condition(&gone), absl::Seconds(10));
  }
};

TEST_F(GdbTest, StartsWithSymbolsIndexScriptsAndTarget) {
  const CliResult result = Run({"gdb", "s-1", "--", "-batch", "-ex", "bt"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const std::string cache = (home_ / "cache/kdbg").string();
  EXPECT_THAT(result.out, HasSubstr("arg -batch\narg -ex\narg bt\n"));
  EXPECT_THAT(result.out, HasSubstr("target remote 127.0.0.1:9\n"));
  EXPECT_THAT(result.out, HasSubstr("file \"" + cache + "/symbols/0123456789abcdef/vmlinux\"\n"));
  EXPECT_THAT(result.out, HasSubstr("set index-cache directory " + cache + "/gdb-index\n"));
  EXPECT_THAT(result.out, HasSubstr("arg source " + cache + "/sessions/s-1/load_scripts.py\n"));
  EXPECT_EQ(Content(cache + "/symbols/0123456789abcdef/vmlinux"), "elf bytes");
  EXPECT_EQ(Content(cache + "/gdb-index/0123456789abcdef.gdb-index"), "index");
}

TEST_F(GdbTest, FetchesOnce) {
  Run({"gdb", "s-1"});
  const int reads = state().artifact_reads;
  EXPECT_GE(reads, 4);
  EXPECT_EQ(Run({"gdb", "s-1"}).exit_code, 0);
  EXPECT_EQ(state().artifact_reads, reads);
  // Damage is noticed.
  std::ofstream(home_ / "cache/kdbg/symbols/0123456789abcdef/vmlinux") << "short";
  EXPECT_EQ(Run({"gdb", "s-1"}).exit_code, 0);
  EXPECT_EQ(state().artifact_reads, reads + 1);
}

TEST_F(GdbTest, ReadsInPlaceWhatTheServerHasOnThisHost) {
  const std::string stored = WriteFile("store/vmlinux", "elf bytes");
  for (auto& file : *state().artifacts["artifacts/a-1"].mutable_files()) {
    if (file.path() == "vmlinux") file.set_server_path(stored);
  }
  EXPECT_THAT(Run({"gdb", "s-1"}).out, HasSubstr("file \"" + stored + "\"\n"));
  EXPECT_FALSE(std::filesystem::exists(home_ / "cache/kdbg/symbols/0123456789abcdef/vmlinux"));
}

// "urls http://127.0.0.1:PORT/TOKEN" of the fake gdb.
int PortIn(const std::string& out) {
  const auto at = out.find("127.0.0.1:", out.find("urls "));
  return std::stoi(out.substr(at + 10));
}

bool Accepts(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

TEST_F(GdbTest, WhatStandsBesideItEndsWithGdb) {
  const CliResult result = Run({"gdb", "s-1"});
  const int port = PortIn(result.out);
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (Accepts(port) && absl::Now() < deadline) {
  }
  EXPECT_FALSE(Accepts(port));
}

// A gdb that says two things, each on a connection of its own, and shows what came back.
constexpr char kTalkingGdb[] = R"(#!/usr/bin/python3
import os, socket
init = open(os.environ["HOME"] + "/cache/kdbg/sessions/s-1/init.gdb").read()
target = init.split("target remote ")[1].strip()
print("target", target)
for said in b"$first#28", b"$second#7c":
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(target)
        server.sendall(said)
        heard = b""
        while len(heard) <= len(said):
            heard += server.recv(64)
        print(heard.decode())
)";

TEST_F(GdbTest, TakesOverThroughItsCompanionBecauseAPortCannot) {
  WriteProgram("gdb", kTalkingGdb);
  state().sessions["sessions/s-1"].mutable_gdb()->set_holder("tcp 127.0.0.1:5123");
  EXPECT_EQ(Run({"gdb", "s-1"}).exit_code, 5);
  const CliResult result = Run({"gdb", "s-1", "--take-over"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("+$first#28\n+$second#7c\n"));
  EXPECT_TRUE(state().gdb_took_over);
}

TEST_F(GdbTest, WhereASocketsPathWouldBeTooLongTheTargetIsAPipe) {
  for (std::string& variable : environment_) {
    if (variable.starts_with("XDG_CACHE_HOME=")) variable += '/' + std::string(100, 'x');
  }
  WriteProgram("gdb", "#!/bin/sh\ncat \"$XDG_CACHE_HOME/kdbg/sessions/s-1/init.gdb\"\n");
  EXPECT_THAT(Run({"gdb", "s-1", "--take-over"}).out, HasSubstr("gdb-pipe --take-over s-1"));
}

TEST_F(GdbTest, ForwardServesOneGdbAfterAnother) {
  int out[2];
  ASSERT_EQ(::pipe2(out, O_CLOEXEC), 0);
  UniqueFd read_end(out[0]);
  UniqueFd write_end(out[1]);
  Subprocess process = Start({"gdb-forward", "s-1", "--listen", ":0"}, {{1, write_end.get()}});
  write_end.Reset();
  char address[64] = {};
  ASSERT_GT(::read(read_end.get(), address, sizeof address - 1), 0);
  const int port = PortIn("urls " + std::string(address));
  for (const std::string packet : {"$first#28", "$second#7c"}) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    ASSERT_EQ(::write(fd.get(), packet.data(), packet.size()), static_cast<ssize_t>(packet.size()));
    std::string received;
    char bytes[64];
    while (received.size() <= packet.size()) {
      const ssize_t size = ::read(fd.get(), bytes, sizeof bytes);
      ASSERT_GT(size, 0) << received;
      received.append(bytes, static_cast<std::size_t>(size));
    }
    EXPECT_EQ(received, "+" + packet);
  }
  process.Signal(SIGINT);
  EXPECT_EQ(process.Wait().code, 130);
}

TEST_F(GdbTest, SomebodyElsesScriptsAreLeftOutUnlessTrusted) {
  state().artifacts["artifacts/a-1"].set_owner("mallory");
  const CliResult result = Run({"gdb", "s-1"});
  EXPECT_THAT(result.out, Not(HasSubstr("load_scripts.py")));
  EXPECT_THAT(result.err, HasSubstr("mallory built this kernel"));
  EXPECT_THAT(Run({"gdb", "s-1", "--trust-scripts"}).out, HasSubstr("load_scripts.py"));
}

TEST_F(GdbTest, OverSshItsCompanionTalksToTheServer) {
  WriteProgram("gdb", kTalkingGdb);
  WriteProgram("ssh",
               "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2; exec sh -c \"$*\"\n");
  const std::string server = "ssh://box" + (home_ / "kdbgd.sock").string();
  const CliResult result = Run({"--server", server, "gdb", "s-1"});
  EXPECT_THAT(result.out, HasSubstr("target " + (home_ / "cache/kdbg/sockets/gdb-s-1-").string()))
      << result.err;
  EXPECT_THAT(result.out, HasSubstr("+$first#28\n+$second#7c\n"));
  EXPECT_EQ(Content(home_ / "cache/kdbg/symbols/0123456789abcdef/vmlinux"), "elf bytes");
  // The next kernel comes as what it differs in from this one.
  EXPECT_EQ(state().artifact_bases[0], "");
  AddSession({{"vmlinux", "elf bytes and an edit"}});
  state().artifacts["artifacts/a-1"].set_build_id("fedcba9876543210");
  state().artifact_bases.clear();
  const CliResult second = Run({"--server", server, "gdb", "s-1"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(Content(home_ / "cache/kdbg/symbols/fedcba9876543210/vmlinux"),
            "elf bytes and an edit");
  ASSERT_FALSE(state().artifact_bases.empty());
  EXPECT_EQ(state().artifact_bases[0], Sha256Hex("elf bytes"));
}

TEST_F(GdbTest, DebugCreatesASessionAndStopsAtTheBreakpoint) {
  const CliResult result = Run({"debug", "--break", "vfs_read"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("arg break vfs_read\narg -ex\narg continue\n"));
  EXPECT_THAT(result.err, HasSubstr("session s-1, stopped at start_kernel, ends with gdb"));
  EXPECT_TRUE(SessionEnded("sessions/s-1"));
}

TEST_F(GdbTest, DebugWithoutASourceTakesArgumentsForGdbToo) {
  const CliResult result = Run({"debug", "--", "-batch", "-ex", "bt"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("arg -batch\narg -ex\narg bt\n"));
}

TEST_F(GdbTest, DebugKeepsTheSessionWhenAsked) {
  const CliResult result = Run({"debug", "--keep"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("kdbgctl gdb s-1 comes back"));
  EXPECT_EQ(state().sessions.count("sessions/s-1"), 1u);
}

TEST_F(GdbTest, AnInterruptWhileItBootsEndsTheSessionOfDebug) {
  state().hold_boot = true;
  for (const bool keep : {true, false}) {
    Terminal terminal;
    Subprocess process = Start(
        keep ? std::vector<std::string>{"debug", "--keep"} : std::vector<std::string>{"debug"},
        {{2, terminal.slave()}});
    terminal.ReadUntil("booting to");
    process.Signal(SIGINT);
    EXPECT_EQ(process.Wait().code, 130);
    EXPECT_EQ(state().sessions.empty(), !keep);
  }
}

TEST_F(GdbTest, DebugEndsTheSessionOfAGdbThatWasKilled) {
  WriteProgram("gdb", "#!/bin/sh\nkill -9 $$\n");
  EXPECT_NE(Run({"debug"}).exit_code, 0);
  EXPECT_TRUE(SessionEnded("sessions/s-1"));
}

TEST_F(GdbTest, DebugLeavesNoSessionBehindAGdbThatIsNotThere) {
  std::filesystem::remove(home_ / "bin/gdb");
  WriteFile(".config/kdbg/config.toml", "gdb = \"gdb-of-tomorrow\"\n");
  const CliResult result = Run({"debug"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("gdb-of-tomorrow is not installed"));
  EXPECT_TRUE(state().sessions.empty());
}

TEST_F(GdbTest, ARealGdbShowsSourceLinesOfTheServersTree) {
  std::filesystem::remove(home_ / "bin/gdb");
  const std::string source =
      "int zero;\n\nint main(void)\n{\n\treturn zero; /* from the server */\n}\n";
  WriteFile("tree/init/main.c", source);
  Subprocess::Options compile;
  compile.argv = {"gcc",
                  "-g",
                  "-Wl,--build-id=0x0123456789abcdef",
                  "-ffile-prefix-map=" + (home_ / "tree").string() + "=/src",
                  (home_ / "tree/init/main.c").string(),
                  "-o",
                  (home_ / "vmlinux").string()};
  compile.environment = environment_;
  ASSERT_TRUE(RunCommand(compile)->status.ok());
  std::filesystem::remove_all(home_ / "tree");
  state().artifacts.clear();
  AddSession({{"vmlinux", Content(home_ / "vmlinux")}});
  state().source_files["init/main.c"] = source;
  const CliResult result =
      Run({"gdb", "s-1", "--", "-batch", "-ex", "list main", "-ex", "list 5,5"});
  EXPECT_THAT(result.out, HasSubstr("return zero; /* from the server */")) << result.err;
  EXPECT_EQ(state().source_reads, 1);
}

// What `debuginfod` printed first.
class DebuginfodTest : public CliTest {
 protected:
  DebuginfodTest() {
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    const UniqueFd read_end(out[0]);
    UniqueFd write_end(out[1]);
    process_ = Start({"debuginfod"}, {{1, write_end.get()}});
    write_end.Reset();
    char url[128] = {};
    EXPECT_GT(::read(read_end.get(), url, sizeof url - 1), 0);
    url_ = std::string(url, std::strcspn(url, "\n"));
  }
  // What was there; nullopt when it could not be had.
  std::optional<std::string> Get(const std::string& url) {
    Subprocess::Options options;
    options.argv = {"python3", "-c",
                    "import sys, urllib.request as r; "
                    "sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())",
                    url};
    const auto got = RunCommand(options);
    return got->status.ok() ? std::optional(got->output) : std::nullopt;
  }
  bool Has(const std::string& url) { return Get(url).has_value(); }

  std::optional<Subprocess> process_;
  std::string url_;
};

TEST_F(DebuginfodTest, APlainGdbFindsSymbolsAndSourcesByBuildId) {
  const std::string source = "int zero;\nint main(void)\n{\n\treturn zero; /* from afar */\n}\n";
  const std::string file = WriteFile("tree/init/main.c", source);
  const std::string program = (home_ / "vmlinux").string();
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"gcc", "-g", "-Wl,--build-id=0x0123456789abcdef",
                                 "-ffile-prefix-map=" + (home_ / "tree").string() + "=/src", file,
                                 "-o", program},
        {"strip", "-o", program + ".stripped", program}}) {
    Subprocess::Options options;
    options.argv = command;
    ASSERT_TRUE(RunCommand(options)->status.ok()) << command[0];
  }
  std::filesystem::remove_all(home_ / "tree");
  AddSession({{"vmlinux", Content(program)}});
  state().source_files["init/main.c"] = source;
  Subprocess::Options gdb;
  gdb.argv = {"gdb",
              "-nx",
              "-batch",
              "-iex",
              "set debuginfod enabled on",
              "-ex",
              "list main",
              program + ".stripped"};
  gdb.environment = environment_;
  gdb.environment->push_back("DEBUGINFOD_URLS=" + url_);
  const auto shown = RunCommand(gdb);
  ASSERT_TRUE(shown.ok());
  EXPECT_THAT(shown->output, HasSubstr("return zero; /* from afar */")) << shown->error;
  process_->Signal(SIGINT);
  EXPECT_EQ(process_->Wait().code, 130);
}

TEST_F(DebuginfodTest, AModuleIsFoundByItsOwnBuildId) {
  AddSession({{"vmlinux", "the kernel"}, {"modules/lib/crc7.ko", "the module"}});
  {
    absl::MutexLock lock(&state().mutex);
    for (v1::ArtifactFile& file : *state().artifacts["artifacts/a-1"].mutable_files()) {
      file.set_build_id(file.path() == "vmlinux" ? "0123456789abcdef" : "00ddba11");
    }
  }
  EXPECT_EQ(Get(url_ + "/buildid/0123456789abcdef/debuginfo"), "the kernel");
  EXPECT_EQ(Get(url_ + "/buildid/00ddba11/debuginfo"), "the module");
  EXPECT_EQ(Get(url_ + "/buildid/00ddba12/debuginfo"), std::nullopt);
}

TEST_F(DebuginfodTest, WhoDoesNotKnowTheTokenGetsNothing) {
  AddSession({{"vmlinux", "elf bytes"}});
  EXPECT_TRUE(Has(url_ + "/buildid/0123456789abcdef/executable"));
  EXPECT_FALSE(Has(url_ + "/buildid/0123456789abcdee/executable")) << "no such kernel";
  EXPECT_FALSE(Has(url_ + "/buildid/0123456789abcdef/source/src/../../etc/passwd"));
  const std::string port = url_.substr(0, url_.rfind('/'));
  EXPECT_FALSE(Has(port + "/buildid/0123456789abcdef/executable"));
  EXPECT_FALSE(Has(port + "/0123/buildid/0123456789abcdef/executable"));
}

TEST_F(DebuginfodTest, APortThatIsTakenIsNamed) {
  const std::string port = url_.substr(17, url_.rfind('/') - 17);
  const CliResult second = Run({"debuginfod", "--port", port});
  EXPECT_EQ(second.exit_code, 6);
  EXPECT_THAT(second.err, HasSubstr("cannot listen on port " + port));
}

}  // namespace
}  // namespace kdbg::test
