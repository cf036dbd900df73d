#include "server/guest/guest.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/stub_link.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/support/fake_stub.h"

namespace kdbg::guest {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kDomain[] = "kdbg-vm-1";
constexpr absl::Duration kLong = absl::Seconds(20);

class GuestTest : public ::testing::Test {
 protected:
  GuestTest() : watcher_(IoWatcher::Start().value()) {
    std::string pattern = "/tmp/kdbg-guest-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    spec_.id = "vm-1";
    spec_.owner = "alice";
    spec_.kernel_image = root_ / "bzImage";
    spec_.system_map = root_ / "System.map";
    spec_.command_line = "console=ttyS0 nokaslr";
    spec_.directory = root_ / "vm-1";
    EXPECT_TRUE(WriteFileAtomic(spec_.system_map,
                                "ffffffff81000100 T start_kernel\n"
                                "ffffffff81000200 T rcu_end_inkernel_boot\n"
                                "ffffffff81000300 T start_thread\n")
                    .ok());
    hypervisor_.on_create = [this](const vm::DomainSpec& domain) {
      printer_ = UniqueFd(
          ::open(domain.console_log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
      if (with_stub_) stub_ = std::make_unique<FakeStub>(domain.gdb_socket.string());
      return absl::OkStatus();
    };
  }
  ~GuestTest() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<Guest> Create() {
    auto guest = Guest::Create(spec_, host_, [this](const GuestEvent& event) {
      absl::MutexLock lock(&mutex_);
      events_.push_back(event.kind);
    });
    EXPECT_TRUE(guest.ok()) << guest.status();
    return *std::move(guest);
  }

  // What the guest does once it runs, on a thread of its own.
  std::jthread WhenRunning(std::function<void()> act) {
    return std::jthread([this, act = std::move(act)] {
      if (stub_->WaitRunning(true)) act();
    });
  }

  void Print(std::string_view text) { ASSERT_TRUE(WriteAll(printer_.get(), text).ok()); }

  std::filesystem::path root_;
  GuestSpec spec_;
  bool with_stub_ = true;
  FakeHypervisor hypervisor_;
  std::unique_ptr<FakeStub> stub_;
  UniqueFd printer_;
  gdb::IoThread io_thread_;
  std::unique_ptr<IoWatcher> watcher_;
  GuestHost host_{hypervisor_, io_thread_, *watcher_};
  absl::Mutex mutex_;
  std::vector<GuestEvent::Kind> events_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(GuestTest, IsMadeWithItsCpusNotStarted) {
  const auto guest = Create();
  EXPECT_FALSE(guest->stub_link()->running());
  const vm::DomainSpec domain = hypervisor_.created().at(0);
  EXPECT_EQ(domain.name, kDomain);
  EXPECT_EQ(domain.owner, "alice");
  EXPECT_EQ(domain.command_line, "console=ttyS0 nokaslr");
  EXPECT_NE(domain.gdb_socket.parent_path(), domain.console_log.parent_path());
}

TEST_F(GuestTest, LeavesNothingBehindWhenItCannotBeMade) {
  with_stub_ = false;
  const auto guest = Guest::Create(spec_, host_, {});
  EXPECT_TRUE(HasReason(guest.status(), Reason::kVmLost)) << guest.status();
  EXPECT_FALSE(std::filesystem::exists(spec_.directory));
  EXPECT_EQ(hypervisor_.State(kDomain).value(), vm::DomainState::kGone);
}

TEST_F(GuestTest, KeepsTheConsoleOfAnEarlierMachineWhenItCannotBeMadeAgain) {
  std::filesystem::create_directories(spec_.directory);
  std::ofstream(ConsoleLogPath(spec_.directory)) << "Linux version";
  with_stub_ = false;
  EXPECT_FALSE(Guest::Create(spec_, host_, {}).ok());
  EXPECT_TRUE(std::filesystem::exists(ConsoleLogPath(spec_.directory)));
  EXPECT_EQ(hypervisor_.State(kDomain).value(), vm::DomainState::kGone);
}

TEST_F(GuestTest, StopsAtASymbolByAHardwareBreakpointAndLeavesNone) {
  const auto guest = Create();
  stub_->HitOnContinue(true);
  const auto report = guest->RunToStopPoint(StopAtSymbol{}, kLong, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->stopped_at, "start_kernel");
  EXPECT_EQ(report->cpu_state, StopReport::CpuState::kHalted);
  EXPECT_THAT(stub_->packets(), Contains("Z1,ffffffff81000100,1"));
  EXPECT_THAT(stub_->breakpoints(), IsEmpty());
}

TEST_F(GuestTest, NamesASymbolThatIsNotThere) {
  const auto guest = Create();
  const auto report = guest->RunToStopPoint(StopAtSymbol{"no_such"}, kLong, {});
  EXPECT_TRUE(HasReason(report.status(), Reason::kSymbolNotFound));
}

TEST_F(GuestTest, RefusesASymbolOfAKernelAtARandomAddress) {
  spec_.base_address = BaseAddress::kRandomized;
  const auto guest = Create();
  EXPECT_EQ(guest->RunToStopPoint(StopAtSymbol{}, kLong, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(GuestTest, IsAtTheShellWhenItsInitSaysSo) {
  const auto guest = Create();
  const std::jthread acting = WhenRunning([this] { Print("...\r\nkdbg: userspace is up\r\n"); });
  const auto report = guest->RunToStopPoint(StopAtShell{}, kLong, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->stopped_at, "shell");
  EXPECT_FALSE(stub_->running());
}

TEST_F(GuestTest, IsAtAForeignShellAtInitsFirstUserInstruction) {
  spec_.ready_sign = ReadySign::kFirstUserInstruction;
  const auto guest = Create();
  stub_->HitOnContinue(true);
  stub_->SetReply("p4", "f0eb400000000000");  // rsi: start_thread's second argument
  const auto report = guest->RunToStopPoint(StopAtShell{}, kLong, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(stub_->packets(), Contains("Z1,40ebf0,1"));
  EXPECT_THAT(stub_->breakpoints(), IsEmpty());
}

TEST_F(GuestTest, WaitsAtResetWithoutRunning) {
  const auto guest = Create();
  EXPECT_EQ(guest->RunToStopPoint(StopAtReset{}, kLong, {})->stopped_at, "reset");
  EXPECT_FALSE(stub_->running());
}

TEST_F(GuestTest, RunsOnWithoutAStopPoint) {
  const auto guest = Create();
  EXPECT_EQ(guest->RunToStopPoint(StopNowhere{}, kLong, {})->cpu_state,
            StopReport::CpuState::kRunning);
  EXPECT_TRUE(stub_->WaitRunning(true));
}

TEST_F(GuestTest, BlamesAPanicOnTheKernelAndShowsItsLastLines) {
  const auto guest = Create();
  const std::jthread acting = WhenRunning([this] {
    Print("[1.9] Kernel panic - not syncing: No working init found.\r\n");
    hypervisor_.Panic(kDomain);
    stub_->SetRunning(false);
  });
  const auto report = guest->RunToStopPoint(StopAtShell{}, kLong, {});
  ASSERT_TRUE(HasReason(report.status(), Reason::kGuestPanicked)) << report.status();
  EXPECT_TRUE(IsGuestFault(report.status()));
  EXPECT_THAT(GetErrorDetail(report.status())->metadata.at("console"),
              HasSubstr("No working init"));
  absl::MutexLock lock(&mutex_);
  EXPECT_THAT(events_, Contains(GuestEvent::Kind::kPanicked));
}

TEST_F(GuestTest, NeedsNoPanicDeviceToSeeAPanic) {
  const auto guest = Create();
  const std::jthread acting =
      WhenRunning([this] { Print("Kernel panic - not syncing: early\r\n"); });
  const auto report = guest->RunToStopPoint(StopAtSymbol{}, kLong, {});
  EXPECT_TRUE(HasReason(report.status(), Reason::kGuestPanicked)) << report.status();
  EXPECT_THAT(stub_->breakpoints(), IsEmpty());
}

TEST_F(GuestTest, TellsAGuestThatWentAwayBeforeItWasReady) {
  const auto guest = Create();
  const std::jthread acting = WhenRunning([this] {
    Print("reboot: Power down\r\n");
    stub_->Die();
  });
  const auto report = guest->RunToStopPoint(StopAtShell{}, kLong, {});
  EXPECT_TRUE(HasReason(report.status(), Reason::kGuestExited)) << report.status();
  EXPECT_THAT(GetErrorDetail(report.status())->metadata.at("console"), HasSubstr("Power down"));
}

TEST_F(GuestTest, GivesUpInTimeAndLeavesTheGuestHalted) {
  const auto guest = Create();
  const auto report = guest->RunToStopPoint(StopAtSymbol{}, absl::Milliseconds(100), {});
  EXPECT_TRUE(HasReason(report.status(), Reason::kBootTimedOut)) << report.status();
  EXPECT_TRUE(IsGuestFault(report.status()));
  EXPECT_FALSE(guest->stub_link()->running());
  EXPECT_THAT(stub_->breakpoints(), IsEmpty());
}

TEST_F(GuestTest, CanBeCancelledWhileItBoots) {
  const auto guest = Create();
  std::stop_source cancel;
  const std::jthread acting = WhenRunning([&] { cancel.request_stop(); });
  const auto report = guest->RunToStopPoint(StopAtShell{}, kLong, cancel.get_token());
  EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled) << report.status();
  EXPECT_FALSE(IsGuestFault(report.status()));
  EXPECT_FALSE(guest->stub_link()->running());
}

TEST_F(GuestTest, IsAdoptedRunningAsItWas) {
  {
    const auto guest = Create();
    ASSERT_TRUE(guest->RunToStopPoint(StopNowhere{}, kLong, {}).ok());
  }
  ASSERT_TRUE(hypervisor_.Resume(kDomain).ok());
  const auto adopted = Guest::Adopt(spec_, host_, {});
  ASSERT_TRUE(adopted.ok()) << adopted.status();
  EXPECT_TRUE((*adopted)->stub_link()->running());
}

TEST_F(GuestTest, IsNotAdoptedWhenItsMachineIsGone) {
  Create().reset();
  hypervisor_.PowerOff(kDomain);
  EXPECT_TRUE(HasReason(Guest::Adopt(spec_, host_, {}).status(), Reason::kVmLost));
  EXPECT_TRUE(std::filesystem::exists(ConsoleLogPath(spec_.directory)));
  EXPECT_TRUE(Guest::Remove(spec_, host_).ok());
  EXPECT_FALSE(std::filesystem::exists(spec_.directory));
}

TEST_F(GuestTest, TellsOfItsEnd) {
  const auto guest = Create();
  hypervisor_.PowerOff(kDomain);
  hypervisor_.PowerOff("kdbg-vm-2");
  absl::MutexLock lock(&mutex_);
  EXPECT_THAT(events_, ::testing::ElementsAre(GuestEvent::Kind::kExited));
}

TEST_F(GuestTest, IsDestroyedWithItsFilesAndKeepsAnOpenConsoleReadable) {
  const auto guest = Create();
  Print("last words");
  const std::shared_ptr<ConsoleLog> console = guest->console();
  EXPECT_TRUE(guest->Destroy().ok());
  EXPECT_TRUE(guest->Destroy().ok());
  EXPECT_EQ(hypervisor_.State(kDomain).value(), vm::DomainState::kGone);
  EXPECT_FALSE(std::filesystem::exists(spec_.directory));
  EXPECT_EQ(console->LastLines(1), "last words");
}

TEST_F(GuestTest, RefusesADirectoryTooDeepForSockets) {
  spec_.directory = root_ / std::string(100, 'x');
  EXPECT_TRUE(HasReason(Guest::Create(spec_, host_, {}).status(), Reason::kFieldInvalid));
  EXPECT_THAT(hypervisor_.created(), IsEmpty());
}

TEST_F(GuestTest, PassesOnThatTheHypervisorIsAway) {
  hypervisor_.FailWith(MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                                 "libvirtd is away"));
  EXPECT_TRUE(HasReason(Guest::Create(spec_, host_, {}).status(), Reason::kHypervisorUnavailable));
}

}  // namespace
}  // namespace kdbg::guest
