// Each test is one attack of a build on its host, and the claim that it fails.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "server/host/secure_open.h"
#include "server/host/seqpacket.h"
#include "tests/system/hostile/hostile_fixture.h"

namespace kdbg::host {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr absl::Duration kTwoSeconds = absl::Seconds(2);

TEST_F(HostileBuildTest, ReadsNoAccountsOfTheHost) {
  const Outcome outcome = Make("shadow.mk");
  EXPECT_TRUE(outcome.result.ok()) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("REACHED")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("root:")));
}

TEST_F(HostileBuildTest, SeesOnlyNamedFilesOfEtc) {
  const Outcome outcome = Make("shadow.mk");
  for (std::string_view name : {"./shadow", "./ssh", "./sudoers", "./hostname", "./fstab"}) {
    EXPECT_THAT(outcome.output, Not(HasSubstr(fmt::format("\n{}\n", name))));
  }
  for (std::string_view name : {"./passwd", "./group", "./alternatives/cc", "./ld.so.cache"}) {
    EXPECT_THAT(outcome.output, HasSubstr(fmt::format("\n{}\n", name)));
  }
}

TEST_F(HostileBuildTest, DoesNotReachTheStateDirectory) {
  const Outcome outcome = Make("state.mk", {"STATE=" + state_.string()});
  EXPECT_TRUE(outcome.result.ok()) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("REACHED")));
  EXPECT_THAT(outcome.output, Not(HasSubstr("the-daemons-secret")));
  struct stat status {};
  ASSERT_EQ(::stat(state_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U) << "the build ran without opening the state directory";
}

TEST_F(HostileBuildTest, DoesNotReachTheDaemonsSockets) {
  const UniqueFd by_path(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, (state_ / "daemon.sock").c_str());
  ASSERT_EQ(::bind(by_path.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::chmod(address.sun_path, 0777), 0);
  ASSERT_EQ(::listen(by_path.get(), 8), 0);

  const UniqueFd abstract(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::string name = fmt::format("kdbg-hostile-{}", NewMark());
  sockaddr_un hidden{};
  hidden.sun_family = AF_UNIX;
  std::memcpy(hidden.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  ASSERT_EQ(::bind(abstract.get(), reinterpret_cast<sockaddr*>(&hidden), size), 0);
  ASSERT_EQ(::listen(abstract.get(), 8), 0);

  const Outcome outcome = Make("socket.mk", {"STATE=" + state_.string(), "ABSTRACT=" + name});
  EXPECT_TRUE(outcome.result.ok()) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("REACHED")));
  EXPECT_THAT(outcome.output, HasSubstr("Error")) << "python never tried";
}

TEST_F(HostileBuildTest, HasNoNetworkNotEvenTheHostsLoopback) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener.get(), any, size), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  ASSERT_EQ(::getsockname(listener.get(), any, &size), 0);
  const Outcome outcome = Make("network.mk", {fmt::format("PORT={}", ntohs(address.sin_port))});
  EXPECT_TRUE(outcome.result.ok()) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("REACHED")));
  EXPECT_THAT(outcome.output, HasSubstr("Connection refused"));
  EXPECT_THAT(outcome.output, HasSubstr("Network is unreachable"));
}

TEST_F(HostileBuildTest, LeavesNoSetuidFileOfRootAndNoneInReach) {
  const Outcome outcome = Make("setuid.mk");
  struct stat status {};
  ASSERT_EQ(::stat((build_ / "evil").c_str(), &status), 0) << outcome.output;
  EXPECT_NE(status.st_uid, 0U);
  EXPECT_EQ(status.st_uid, is_root() ? runs_as_->uid : ::geteuid());
  EXPECT_FALSE(std::filesystem::exists(build_ / "disk")) << "a device was made";
  // What carries the bit belongs to the build's own user, and nobody else gets to it.
  ASSERT_EQ(::stat(state_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0077, 0U);
}

TEST_F(HostileBuildTest, ForkBombIsBoundedAndNamedAsTheCause) {
  const absl::Time begin = absl::Now();
  const Outcome outcome = Make("fork_bomb.mk");
  EXPECT_LT(absl::Now() - begin, absl::Seconds(15));
  EXPECT_FALSE(outcome.result.ok());
  EXPECT_EQ(EndCauseName(outcome.result.cause), EndCauseName(EndCause::kTooManyProcesses));
  // The host goes on, and so does the runner.
  Sandbox next = Build("planted.mk", {"plain"});
  EXPECT_TRUE(Run(next).result.ok());
}

TEST_F(HostileBuildTest, MemoryHogIsEndedAndNamedAsTheCause) {
  const Outcome outcome = Make("memory_hog.mk", {"one"});
  EXPECT_FALSE(outcome.result.ok());
  if (LimitNamed("memory").mechanism != "rlimit") {
    EXPECT_EQ(EndCauseName(outcome.result.cause), EndCauseName(EndCause::kOutOfMemory));
    EXPECT_GT(outcome.result.peak_memory_bytes, std::int64_t{128} << 20);
  }
  EXPECT_LE(outcome.result.peak_memory_bytes, std::int64_t{300} << 20);
}

TEST_F(HostileBuildTest, ManyProcessesShareOneMemoryLimit) {
  if (LimitNamed("memory").mechanism == "rlimit") {
    GTEST_SKIP() << "no control group to write to: the probe reports that memory is bounded for "
                    "each process alone";
  }
  EXPECT_EQ(EndCauseName(Make("memory_hog.mk", {"many"}).result.cause),
            EndCauseName(EndCause::kOutOfMemory));
}

TEST_F(HostileBuildTest, MemoryFileSystemsAreBounded) {
  const Outcome outcome = Make("memory_hog.mk", {"shared"});
  EXPECT_TRUE(outcome.result.cause == EndCause::kOutOfMemory ||
              outcome.output.find("No space left on device") != std::string::npos)
      << outcome.output;
  EXPECT_LE(outcome.result.peak_memory_bytes, std::int64_t{300} << 20);
}

TEST_F(HostileBuildTest, PlantedOutputsAreRefusedWhenTheyAreTakenOut) {
  struct Case {
    std::string goal;
    std::string path;
    std::string what;
  };
  for (const Case& each : std::vector<Case>{
           {"symlink", "vmlinux", "a symbolic link"},
           {"fifo", "vmlinux", "a pipe"},
           {"socket", "vmlinux", "a device or socket"},
           {"directory-link", "arch/etc/shadow", "a symbolic link"},
       }) {
    SCOPED_TRACE(each.goal);
    std::filesystem::remove(build_ / "vmlinux");
    const Outcome outcome = Make("planted.mk", {each.goal});
    ASSERT_TRUE(outcome.result.ok()) << outcome.output;
    const auto directory = OpenDirectory(build_);
    ASSERT_TRUE(directory.ok()) << directory.status();
    const auto file = OpenBeneath(directory->get(), each.path);
    EXPECT_TRUE(HasReason(file.status(), Reason::kOutputUnsafe)) << file.status();
    EXPECT_THAT(file.status().ToString(), HasSubstr(each.what));
  }
}

TEST_F(HostileBuildTest, APlainOutputIsTakenOut) {
  ASSERT_TRUE(Make("planted.mk", {"plain"}).result.ok());
  const auto directory = OpenDirectory(build_);
  ASSERT_TRUE(directory.ok()) << directory.status();
  const auto file = OpenBeneath(directory->get(), "vmlinux");
  ASSERT_TRUE(file.ok()) << file.status();
  char text[16] = {};
  EXPECT_EQ(::read(file->get(), text, sizeof text), 7);
}

TEST_F(HostileBuildTest, AFileCanBeShownByItself) {
  Sandbox sandbox = Build("planted.mk");
  sandbox.binds.push_back({state_ / "secret", "/in/shown", Access::kReadOnly});
  sandbox.argv = {"sh", "-c", "cat /in/shown; ls /in; echo x > /in/shown"};
  const Outcome outcome = Run(sandbox);
  EXPECT_THAT(outcome.output, HasSubstr("the-daemons-secret\nshown\n"));
  EXPECT_FALSE(outcome.result.ok()) << "it could be written";
}

TEST_F(HostileBuildTest, AChildThatOutlivesTheBuildIsGone) {
  const std::string mark = NewMark();
  const Outcome outcome = Make("outlive.mk", {"MARK=" + mark});
  EXPECT_TRUE(outcome.result.ok()) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("left"));
  EXPECT_THAT(ProcessesWith(mark), IsEmpty());
}

TEST_F(HostileBuildTest, TheSourceAndTheSystemStayAsTheyWere) {
  const Outcome outcome = Make("source.mk");
  EXPECT_TRUE(outcome.result.ok()) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("REACHED")));
  EXPECT_THAT(outcome.output, HasSubstr("WRITABLE"));
  EXPECT_FALSE(std::filesystem::exists(source_ / "planted"));
  EXPECT_GT(std::filesystem::file_size(source_ / "Makefile"), 100U);
}

TEST_F(HostileBuildTest, KillingEverythingKillsOnlyItself) {
  const std::string mark = NewMark();
  Pipe pipe = MakePipe();
  const std::unique_ptr<SandboxRun> neighbour =
      Start(Build("wait.mk", {"MARK=" + mark}), pipe.write_end.get());
  ASSERT_NE(neighbour, nullptr);
  pipe.write_end.Reset();
  ASSERT_TRUE(WaitForLine(pipe.read_end.get(), "ready"));
  const std::vector<int> before = ProcessesWith(mark);

  const Outcome outcome = Make("kill.mk");
  EXPECT_FALSE(outcome.result.ok());
  EXPECT_EQ(EndCauseName(outcome.result.cause), "exited");
  EXPECT_THAT(ProcessesWith(mark), IsSupersetOf(before)) << "the neighbour lost processes";
}

TEST_F(HostileBuildTest, SeesNoProcessOfOthersAndHasNoRightsInside) {
  const std::string mark = NewMark();
  Pipe pipe = MakePipe();
  const std::unique_ptr<SandboxRun> neighbour =
      Start(Build("wait.mk", {"MARK=" + mark}), pipe.write_end.get());
  ASSERT_NE(neighbour, nullptr);
  pipe.write_end.Reset();
  ASSERT_TRUE(WaitForLine(pipe.read_end.get(), "ready"));

  const Outcome outcome = Make("spy.mk");
  EXPECT_THAT(outcome.output, Not(HasSubstr(mark)));
  EXPECT_THAT(outcome.output, Not(HasSubstr("REACHED")));
  EXPECT_THAT(outcome.output, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(outcome.output, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(outcome.output, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(outcome.output, HasSubstr("\n1000\nkdbg\n"));
  // Nothing of the runner's or of ours is open in there, not even what was not close-on-exec.
  for (std::string_view kind : {"socket:", "pipe:", "memfd:order", "memfd:etc"}) {
    EXPECT_THAT(outcome.output, Not(HasSubstr(std::string(kind))));
  }
}

TEST_F(HostileBuildTest, CancelEndsTheWholeTreeWithinTwoSeconds) {
  const std::string mark = NewMark();
  Pipe pipe = MakePipe();
  const std::unique_ptr<SandboxRun> run =
      Start(Build("wait.mk", {"MARK=" + mark}), pipe.write_end.get());
  ASSERT_NE(run, nullptr);
  pipe.write_end.Reset();
  ASSERT_TRUE(WaitForLine(pipe.read_end.get(), "ready"));
  ASSERT_THAT(ProcessesWith(mark), Not(IsEmpty()));

  const absl::Time begin = absl::Now();
  run->Cancel();
  const SandboxResult result = run->Wait();
  EXPECT_LT(absl::Now() - begin, kTwoSeconds);
  EXPECT_EQ(EndCauseName(result.cause), "cancelled");
  EXPECT_THAT(ProcessesWith(mark), IsEmpty());
}

TEST_F(HostileBuildTest, TheWallClockEndsABuildThatWouldWait) {
  // The first is over before its sandbox is there.
  for (const absl::Duration limit : {absl::Milliseconds(1), absl::Milliseconds(300)}) {
    const std::string mark = NewMark();
    Sandbox sandbox = Build("wait.mk", {"MARK=" + mark});
    sandbox.limits.wall_time = limit;
    const absl::Time begin = absl::Now();
    EXPECT_EQ(EndCauseName(Run(sandbox).result.cause), "timed out");
    EXPECT_LT(absl::Now() - begin, absl::Seconds(3));
    EXPECT_THAT(ProcessesWith(mark), IsEmpty());
  }
}

TEST_F(HostileBuildTest, TheRunnersEndIsTheEndOfEveryBuild) {
  for (const bool by_force : {false, true}) {
    SCOPED_TRACE(by_force ? "killed" : "the daemon ended");
    const std::string mark = NewMark();
    Pipe pipe = MakePipe();
    const std::unique_ptr<SandboxRun> run =
        Start(Build("wait.mk", {"MARK=" + mark}), pipe.write_end.get());
    ASSERT_NE(run, nullptr);
    pipe.write_end.Reset();
    ASSERT_TRUE(WaitForLine(pipe.read_end.get(), "ready"));
    const std::vector<int> pids = ProcessesWith(mark);
    ASSERT_FALSE(pids.empty());
    if (by_force) ::kill(process_->pid(), SIGKILL);
    process_.reset();
    EXPECT_TRUE(AllEndWithin(pids, kTwoSeconds));
    EXPECT_THAT(EndCauseName(run->Wait().cause), AnyOf("runner lost", "cancelled"));
    TearDown();
    SetUp();
  }
}

TEST_F(HostileBuildTest, ALongFileIsCutOff) {
  Sandbox sandbox = Build("planted.mk");
  sandbox.argv = {"sh", "-c", "head -c 64M /dev/zero > /build/long"};
  sandbox.limits.file_bytes = 1 << 20;
  EXPECT_FALSE(Run(sandbox).result.ok());
  EXPECT_EQ(std::filesystem::file_size(build_ / "long"), 1U << 20);
}

TEST_F(HostileBuildTest, NoCommandRunsAsRootOrOutsideTheRange) {
  std::vector<uid_t> refused = {0, 1, 65534};
  if (!is_root()) refused = {0, ::geteuid() + 1};
  for (uid_t uid : refused) {
    Sandbox sandbox = Build("planted.mk", {"plain"});
    sandbox.run_as = Identity{.uid = uid, .gid = uid};
    const auto run = runner_->Start(sandbox, -1, -1, -1);
    EXPECT_TRUE(absl::IsPermissionDenied(run.status())) << uid << " " << run.status();
  }
}

TEST_F(HostileBuildTest, ASourceOutsideTheAllowedRootsIsRefusedAlsoThroughALink) {
  Sandbox sandbox = Build("planted.mk", {"plain"});
  sandbox.binds.push_back({"/root", "/in", Access::kReadOnly});
  EXPECT_TRUE(absl::IsPermissionDenied(runner_->Start(sandbox, -1, -1, -1).status()));
  if (!is_root()) return;  // without root bubblewrap opens the paths with nobody's rights but ours
  std::filesystem::create_directory_symlink("/root", state_ / "link");
  sandbox.binds.back().host = state_ / "link";
  const auto through_link = runner_->Start(sandbox, -1, -1, -1);
  EXPECT_TRUE(HasReason(through_link.status(), Reason::kSandboxUnavailable))
      << through_link.status();
}

TEST_F(HostileBuildTest, TheProbeSaysWhatHolds) {
  const SandboxAbility ability = runner_->Probe();
  ASSERT_TRUE(ability.usable) << ability.reason;
  std::set<std::string> names;
  for (const LimitReport& limit : ability.limits) {
    SCOPED_TRACE(fmt::format("{}: {} ({})", limit.name, limit.mechanism, limit.detail));
    std::printf("  %-10s %-5s %-10s %s\n", limit.name.c_str(), limit.holds ? "holds" : "-",
                limit.mechanism.c_str(), limit.detail.c_str());
    EXPECT_EQ(limit.holds, is_root() || limit.name != "uid");
    EXPECT_TRUE(names.insert(limit.name).second);
  }
  EXPECT_EQ(names, std::set<std::string>(
                       {"uid", "memory", "processes", "cpu", "file size", "wall time", "network"}));
}

TEST_F(HostileBuildTest, ASecondBuildRunsWhileTheFirstDoes) {
  const std::string mark = NewMark();
  Pipe pipe = MakePipe();
  const std::unique_ptr<SandboxRun> first =
      Start(Build("wait.mk", {"MARK=" + mark}), pipe.write_end.get());
  ASSERT_NE(first, nullptr);
  pipe.write_end.Reset();
  ASSERT_TRUE(WaitForLine(pipe.read_end.get(), "ready"));
  EXPECT_TRUE(Make("planted.mk", {"plain"}).result.ok());
  first->Cancel();
  EXPECT_EQ(EndCauseName(first->Wait().cause), "cancelled");
}

}  // namespace
}  // namespace kdbg::host
