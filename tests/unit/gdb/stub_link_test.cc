#include "server/gdb/stub_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <stop_token>
#include <thread>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/rsp/packet.h"
#include "proto/support/unique_fd.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/stub_channel.h"
#include "tests/support/fake_stub.h"
#include "tests/support/temp_socket.h"

namespace kdbg::gdb {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class StubLinkTest : public ::testing::Test {
 protected:
  std::unique_ptr<StubLink> Connect(CpuState state = CpuState::kHalted) {
    auto link = StubLink::Connect(io_thread_, socket_.path(), state);
    EXPECT_TRUE(link.ok()) << link.status();
    return link.ok() ? *std::move(link) : nullptr;
  }

  // A connection of an earlier daemon that wrote `bytes` and died.
  void LeaveBehind(std::string_view bytes) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_.path().c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(0, ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)));
    ASSERT_EQ(static_cast<ssize_t>(bytes.size()), ::write(fd.get(), bytes.data(), bytes.size()));
    ::shutdown(fd.get(), SHUT_WR);
    char rest[256];
    while (::read(fd.get(), rest, sizeof(rest)) > 0) {
    }
  }

  TempSocket socket_;
  FakeStub stub_{socket_.path()};
  IoThread io_thread_;
};

TEST_F(StubLinkTest, NobodyListeningIsUnavailable) {
  const auto link = StubLink::Connect(io_thread_, "/nonexistent/stub", CpuState::kHalted);
  EXPECT_EQ(link.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(HasReason(link.status(), Reason::kVmLost));
}

TEST_F(StubLinkTest, SilentStubEndsInADeadline) {
  stub_.Mute(true);
  const auto link =
      StubLink::Connect(io_thread_, socket_.path(), CpuState::kHalted, absl::Milliseconds(50));
  EXPECT_EQ(link.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(StubLinkTest, StopsAtAHardwareBreakpointAndLeavesNone) {
  stub_.HitOnContinue(true);
  stub_.SetReply("p10", "0000008100000000");
  auto link = Connect();
  ASSERT_TRUE(link->InsertBreakpoint(BreakpointKind::kHardware, 0xffffffff81000000).ok());
  EXPECT_THAT(stub_.breakpoints(), ElementsAre("1,ffffffff81000000,1"));
  ASSERT_TRUE(link->Continue().ok());
  const auto stop = link->WaitStop(absl::Seconds(5));
  ASSERT_TRUE(stop.ok()) << stop.status();
  EXPECT_EQ(stop->signal, 5);
  EXPECT_EQ(stop->thread, "01");
  EXPECT_EQ(*link->ReadRegister(x86_64::kRip), 0x81000000u);
  ASSERT_TRUE(link->RemoveBreakpoint(BreakpointKind::kHardware, 0xffffffff81000000).ok());
  EXPECT_THAT(stub_.breakpoints(), IsEmpty());
  EXPECT_EQ(stub_.stray_bytes(), 0);
}

TEST_F(StubLinkTest, ReadsMoreMemoryThanOnePacketHolds) {
  auto link = Connect();
  EXPECT_EQ(*link->ReadMemory(0x1000, 5000), std::string(5000, '\x5a'));
  stub_.SetReply("m0,10", "E14");
  EXPECT_EQ(link->ReadMemory(0, 16).status().code(), absl::StatusCode::kInternal);
}

TEST_F(StubLinkTest, AdoptsARunningGuestAndLetsItRunOn) {
  stub_.SetRunning(true);
  auto link = Connect(CpuState::kRunning);
  EXPECT_TRUE(link->running());
  EXPECT_TRUE(stub_.WaitRunning(true));
  EXPECT_EQ(stub_.stray_bytes(), 0);
  EXPECT_THAT(stub_.packets(), ElementsAre("?", ::testing::StartsWith("qSupported"),
                                           ::testing::StartsWith("qXfer"), "c"));
}

TEST_F(StubLinkTest, AdoptsAHaltedGuestAndLeavesItHalted) {
  auto link = Connect(CpuState::kHalted);
  EXPECT_FALSE(link->running());
  EXPECT_FALSE(stub_.running());
}

TEST_F(StubLinkTest, AdoptsAfterAnEarlierDaemonDiedAnywhere) {
  // In the middle of a packet, of its checksum, with an answer unacknowledged, with breakpoints
  // set.
  for (const char* left : {"$m0", "$m0,4#", "$m0,4#f", "$m0}", "$g#67", "$Z1,1000,1#75", "$c#63"}) {
    SCOPED_TRACE(left);
    LeaveBehind(left);
    auto link = Connect();
    ASSERT_NE(link, nullptr);
    EXPECT_EQ(*link->Request("m0,2"), "5a5a");
    EXPECT_THAT(stub_.breakpoints(), IsEmpty());
  }
}

TEST_F(StubLinkTest, InterruptHaltsAndSaysWhy) {
  auto link = Connect(CpuState::kRunning);
  ASSERT_TRUE(stub_.WaitRunning(true));
  const auto stop = link->Interrupt();
  ASSERT_TRUE(stop.ok());
  EXPECT_EQ(stop->signal, 2);
  EXPECT_FALSE(stub_.running());
  EXPECT_EQ(stub_.stray_bytes(), 0);
  EXPECT_EQ(link->Interrupt()->signal, 2) << "halted already";
}

TEST_F(StubLinkTest, SendsNothingWhileTheGuestRuns) {
  auto link = Connect(CpuState::kRunning);
  ASSERT_TRUE(stub_.WaitRunning(true));
  const auto reply = link->Request("m0,4");
  EXPECT_TRUE(HasReason(reply.status(), Reason::kWrongState)) << reply.status();
  EXPECT_TRUE(link->Continue().ok());
  EXPECT_TRUE(stub_.running());
  EXPECT_EQ(stub_.stray_bytes(), 0);
}

TEST_F(StubLinkTest, WaitStopEndsByDeadlineAndByCancel) {
  auto link = Connect(CpuState::kRunning);
  ASSERT_TRUE(stub_.WaitRunning(true));
  EXPECT_EQ(link->WaitStop(absl::Milliseconds(10)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::stop_source source;
  std::jthread canceller([&source] { source.request_stop(); });
  EXPECT_EQ(link->WaitStop(absl::Seconds(30), source.get_token()).status().code(),
            absl::StatusCode::kCancelled);
  EXPECT_TRUE(stub_.running());
}

TEST_F(StubLinkTest, SeesAPauseFromTheHypervisor) {
  auto link = Connect(CpuState::kRunning);
  ASSERT_TRUE(stub_.WaitRunning(true));
  absl::Notification seen;
  auto subscription = link->OnStop([&](const StopReply& stop) {
    if (stop.signal == 2) seen.Notify();
  });
  stub_.SetRunning(false);
  ASSERT_TRUE(seen.WaitForNotificationWithTimeout(absl::Seconds(5)));
  EXPECT_FALSE(link->running());
  EXPECT_EQ(*link->Request("m0,1"), "5a");
}

TEST_F(StubLinkTest, RecoversFromAGuestStartedBehindItsBack) {
  auto link = Connect();
  ASSERT_EQ(*link->Request("m0,1"), "5a");
  stub_.SetRunning(true);
  EXPECT_EQ(*link->Request("m0,2"), "5a5a");
  EXPECT_EQ(*link->Request("m0,3"), "5a5a5a");
}

TEST_F(StubLinkTest, HaltsAGuestThatNeverStarted) {
  auto link = Connect();
  stub_.RefuseToStart(true);
  ASSERT_TRUE(link->Continue().ok());
  const auto stop = link->Interrupt();
  ASSERT_TRUE(stop.ok()) << stop.status();
  EXPECT_FALSE(link->running());
  EXPECT_EQ(*link->Request("m0,1"), "5a");
}

TEST_F(StubLinkTest, TellsEveryoneWhenQemuDies) {
  auto link = Connect(CpuState::kRunning);
  absl::Notification lost;
  auto subscription = link->OnLost([&] { lost.Notify(); });
  std::jthread killer([&] { stub_.Die(); });
  EXPECT_TRUE(HasReason(link->WaitStop(absl::Seconds(5)).status(), Reason::kVmLost));
  EXPECT_TRUE(lost.WaitForNotificationWithTimeout(absl::Seconds(5)));
  EXPECT_TRUE(link->lost());
  EXPECT_TRUE(HasReason(link->Request("?").status(), Reason::kVmLost));
  EXPECT_TRUE(HasReason(link->Continue(), Reason::kVmLost));
  EXPECT_TRUE(HasReason(link->Interrupt().status(), Reason::kVmLost));
}

TEST_F(StubLinkTest, ManyThreadsGetTheirOwnAnswers) {
  auto link = Connect();
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (std::size_t size = 1; size <= 8; ++size) {
      threads.emplace_back([&, size] {
        for (int i = 0; i < 50; ++i) {
          const auto memory = link->ReadMemory(0, size);
          if (!memory.ok() || memory->size() != size) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(StubLinkTest, GuestMayNotReachTheDevelopersFiles) {
  auto link = Connect();
  stub_.RefuseToStart(true);  // as QEMU does while it waits for the answer
  ASSERT_TRUE(link->Continue().ok());
  ASSERT_TRUE(stub_.WaitForPacket("c"));
  stub_.SendRaw(rsp::Encode("Fopen,1000/8,0,0"));
  EXPECT_TRUE(stub_.WaitForPacket("F-1,1"));
}

TEST(StopReply, ParsesWhatQemuSends) {
  const auto stop = ParseStopReply("T05thread:p01.02;");
  ASSERT_TRUE(stop.has_value());
  EXPECT_EQ(stop->signal, 5);
  EXPECT_EQ(stop->thread, "p01.02");
  EXPECT_EQ(ParseStopReply("T02thread:01;")->signal, 2);
  EXPECT_EQ(ParseStopReply("S05")->signal, 5);
  EXPECT_EQ(ParseStopReply("W00")->kind, StopReply::Kind::kExited);
  EXPECT_EQ(ParseStopReply("X09")->kind, StopReply::Kind::kExited);
  for (const char* packet : {"", "OK", "E22", "T", "T5", "Tzz", "5a5a"}) {
    EXPECT_FALSE(ParseStopReply(packet).has_value()) << packet;
  }
}

}  // namespace
}  // namespace kdbg::gdb
