#include "server/gdb/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/rsp/hex.h"
#include "server/gdb/io_thread.h"
#include "tests/support/fake_stub.h"
#include "tests/support/gdb_client.h"
#include "tests/support/temp_socket.h"

namespace kdbg::gdb {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class RecordingPolicy final : public ClientPolicy {
 public:
  absl::Status Admit(const Attachment&) override {
    absl::MutexLock lock(&mutex_);
    return verdict_;
  }
  void Attached(const Attachment& attachment) override { Note("attached " + attachment.client); }
  void Detached(const Attachment& attachment) override { Note("detached " + attachment.client); }
  std::optional<std::string> Monitor(std::string_view command) override {
    if (command == "later") {
      asked_.Notify();
      return std::nullopt;
    }
    return "no monitor here: " + std::string(command) + "\n" + std::string(monitor_padding_, '.');
  }

  void Refuse(absl::Status verdict) {
    absl::MutexLock lock(&mutex_);
    verdict_ = std::move(verdict);
  }
  // Until it owes the answer to `monitor later`.
  bool WaitForQuestion() const { return asked_.WaitForNotificationWithTimeout(absl::Seconds(5)); }
  void PadMonitor(std::size_t size) { monitor_padding_ = size; }
  std::vector<std::string> events() const {
    absl::MutexLock lock(&mutex_);
    return events_;
  }
  bool WaitForDetach(std::size_t count = 1) const {
    absl::MutexLock lock(&mutex_);
    const auto reached = [this, count]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return static_cast<std::size_t>(
                 std::count_if(events_.begin(), events_.end(),
                               [](const std::string& event) { return event[0] == 'd'; })) >= count;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), absl::Seconds(5));
  }

 private:
  void Note(std::string event) {
    absl::MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
  }

  mutable absl::Mutex mutex_;
  absl::Status verdict_;
  std::vector<std::string> events_;
  absl::Notification asked_;
  std::size_t monitor_padding_ = 0;
};

class GatewayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto link = StubLink::Connect(io_thread_, socket_.path(), CpuState::kHalted);
    ASSERT_TRUE(link.ok()) << link.status();
    link_ = *std::move(link);
    auto port = ReservedPort::Bind("127.0.0.1", 0);
    ASSERT_TRUE(port.ok()) << port.status();
    auto door = gateway_.Open(*std::move(port), link_, policy_);
    ASSERT_TRUE(door.ok()) << door.status();
    door_ = *std::move(door);
  }
  void LetRun() {
    ASSERT_TRUE(link_->Continue().ok());
    ASSERT_TRUE(stub_.WaitRunning(true));
  }
  void ExpectCleanAndRunning() {
    EXPECT_TRUE(stub_.WaitRunning(true));
    EXPECT_THAT(stub_.breakpoints(), IsEmpty());
    EXPECT_EQ(stub_.stray_bytes(), 0);
    EXPECT_FALSE(stub_.ended());
  }

  TempSocket socket_;
  FakeStub stub_{socket_.path()};
  IoThread io_thread_;
  Gateway gateway_{io_thread_};
  RecordingPolicy policy_;
  std::shared_ptr<StubLink> link_;
  std::unique_ptr<Door> door_;
};

TEST_F(GatewayTest, ClientFindsTheGuestHalted) {
  LetRun();
  GdbClient client(door_->port());
  EXPECT_EQ(client.Attach(),
            "QStartNoAckMode+;PacketSize=1000;qXfer:features:read+;vContSupported+");
  EXPECT_FALSE(stub_.running());
  EXPECT_EQ(client.Ask("m1000,4"), "5a5a5a5a");
  EXPECT_EQ(door_->holder()->client, client.name());
  EXPECT_EQ(stub_.stray_bytes(), 0);
}

TEST_F(GatewayTest, WorksWithAndWithoutAcks) {
  GdbClient client(door_->port());
  client.Attach();
  client.Send("g");
  EXPECT_EQ(client.ReadEvent()->kind, rsp::Event::Kind::kAck);
  EXPECT_EQ(client.ReadEvent()->kind, rsp::Event::Kind::kPacket);
  client.SendRaw("-");
  EXPECT_EQ(client.ReadEvent()->payload, std::string(32, '0')) << "sent again after a NAK";
  client.StopAcks();
  client.Send("g");
  EXPECT_EQ(client.ReadEvent()->kind, rsp::Event::Kind::kPacket);
}

TEST_F(GatewayTest, ContinueEndsWithTheStop) {
  stub_.HitOnContinue(true);
  GdbClient client(door_->port());
  client.Attach();
  EXPECT_EQ(client.Ask("Z0,1000,1"), "OK");
  EXPECT_EQ(client.Ask("vCont;c"), "T05thread:01;");
  EXPECT_EQ(client.Ask("vCont;s:1"), "T05thread:01;");
  EXPECT_EQ(client.Ask("g"), std::string(32, '0'));
}

TEST_F(GatewayTest, CtrlCInterrupts) {
  GdbClient client(door_->port());
  client.Attach();
  client.Send("vCont;c");
  ASSERT_TRUE(stub_.WaitRunning(true));
  client.SendRaw("\x03");
  EXPECT_EQ(client.Read(), "T02thread:01;");
  client.SendRaw("\x03");  // halted already: nothing happens
  EXPECT_EQ(client.Ask("m0,1"), "5a");
  EXPECT_EQ(stub_.stray_bytes(), 0);
}

TEST_F(GatewayTest, PacketsWhileTheGuestRunsAreHeldBack) {
  GdbClient client(door_->port());
  client.Attach();
  client.Send("c");
  ASSERT_TRUE(stub_.WaitRunning(true));
  client.Send("m0,4");
  client.SendRaw("+noise");
  client.SendRaw("\x03");
  EXPECT_EQ(client.Read(), "T02thread:01;");
  EXPECT_EQ(stub_.stray_bytes(), 0);
  EXPECT_EQ(io_thread_.traffic().refused_packets.value(), 1u);
}

TEST_F(GatewayTest, MonitorNeverReachesQemu) {
  policy_.PadMonitor(5000);
  GdbClient client(door_->port());
  client.Attach();
  client.Send("qRcmd," + rsp::HexEncode("migrate \"exec:id\""));
  std::string output;
  while (true) {
    const std::string packet = client.Read().value_or("(end)");
    if (packet[0] != 'O' || packet == "OK") {
      EXPECT_EQ(packet, "OK");
      break;
    }
    EXPECT_LE(packet.size(), 0x1000u);
    output += rsp::HexDecode(packet.substr(1)).value_or("");
  }
  EXPECT_EQ(output, "no monitor here: migrate \"exec:id\"\n" + std::string(5000, '.'));
  EXPECT_THAT(client.Ask("qRcmd,zz"), StartsWith("E."));
  EXPECT_THAT(stub_.packets(), Not(Contains(StartsWith("qRcmd"))));
}

// What `monitor` answers, whole.
std::string ReadMonitor(GdbClient& client) {
  std::string output;
  while (true) {
    const std::string packet = client.Read().value_or("(end)");
    if (packet[0] != 'O' || packet == "OK") return output + packet;
    output += rsp::HexDecode(packet.substr(1)).value_or("");
  }
}

class LateAnswerTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    auto link = StubLink::Connect(io_thread_, other_socket_.path(), CpuState::kHalted);
    ASSERT_TRUE(link.ok()) << link.status();
    other_link_ = *std::move(link);
  }
  void AskLater(GdbClient& client) {
    client.Send("qRcmd," + rsp::HexEncode("later"));
    ASSERT_TRUE(policy_.WaitForQuestion());
  }

  TempSocket other_socket_;
  FakeStub other_stub_{other_socket_.path()};
  std::shared_ptr<StubLink> other_link_;
};

TEST_F(LateAnswerTest, AClientWaitsForThePolicy) {
  GdbClient client(door_->port());
  client.Attach();
  AskLater(client);
  client.Send("m0,2");
  door_->AnswerMonitor("there\n");
  EXPECT_EQ(ReadMonitor(client), "there\nOK");
  EXPECT_EQ(client.Read(), "5a5a") << "asked meanwhile, answered after that";
  door_->AnswerMonitor("nobody asked\n");
  EXPECT_EQ(client.Ask("m0,2"), "5a5a");
}

TEST_F(LateAnswerTest, AClientGoesOnAtAnotherGuestAsItWasAtTheOneBefore) {
  GdbClient client(door_->port());
  client.Attach();
  for (const char* packet :
       {"Hg02", "Z0,ffffffff81000100,1", "Z1,ffffffff81000200,1", "Z2,ffff888000000000,8",
        "Z1,ffffffff81000300,1", "z1,ffffffff81000300,1"}) {
    EXPECT_EQ(client.Ask(packet), "OK") << packet;
  }
  AskLater(client);
  stub_.Die();
  door_->AnswerMonitor("moved\n", other_link_);
  EXPECT_EQ(ReadMonitor(client), "moved\nOK");
  EXPECT_THAT(other_stub_.breakpoints(),
              ElementsAre("0,ffffffff81000100,1", "1,ffffffff81000200,1", "2,ffff888000000000,8"));
  EXPECT_THAT(other_stub_.packets(), Contains("Hg02"));
  EXPECT_EQ(door_->holder()->client, client.name());
  EXPECT_FALSE(other_link_->Continue().ok()) << "the client decides there, too";
  EXPECT_EQ(client.Ask("D"), "OK");
  EXPECT_TRUE(other_stub_.WaitRunning(true));
  EXPECT_THAT(other_stub_.breakpoints(), IsEmpty());
}

TEST_F(LateAnswerTest, WhatCannotBeSetAgainIsTold) {
  GdbClient client(door_->port());
  client.Attach();
  EXPECT_EQ(client.Ask("Z1,ffffffff81000200,1"), "OK");
  AskLater(client);
  other_stub_.SetReply("Z1,ffffffff81000200,1", "E22");
  door_->AnswerMonitor("moved\n", other_link_);
  EXPECT_THAT(ReadMonitor(client), HasSubstr("not there any more: Z1,ffffffff81000200,1\nOK"));
}

TEST_F(LateAnswerTest, TheOtherGuestIsFoundHalted) {
  GdbClient client(door_->port());
  client.Attach();
  AskLater(client);
  ASSERT_TRUE(other_link_->Continue().ok());
  door_->AnswerMonitor("moved\n", other_link_);
  EXPECT_EQ(ReadMonitor(client), "moved\nOK");
  EXPECT_FALSE(other_stub_.running());
  EXPECT_EQ(other_stub_.stray_bytes(), 0);
}

TEST_F(LateAnswerTest, OneThatVanishesMeanwhileLeavesTheOtherGuestToTheNext) {
  {
    GdbClient client(door_->port());
    client.Attach();
    AskLater(client);
  }
  ASSERT_TRUE(policy_.WaitForDetach());
  door_->AnswerMonitor("moved\n", other_link_);
  other_stub_.SetReply("m0,2", "0102");
  GdbClient next(door_->port());
  next.Attach();
  EXPECT_EQ(next.Ask("m0,2"), "0102");
}

TEST_F(LateAnswerTest, TheEndOfTheOtherGuestIsNoticed) {
  GdbClient client(door_->port());
  client.Attach();
  AskLater(client);
  door_->AnswerMonitor("moved\n", other_link_);
  EXPECT_EQ(ReadMonitor(client), "moved\nOK");
  other_stub_.Die();
  EXPECT_TRUE(policy_.WaitForDetach());
}

TEST_F(GatewayTest, PacketsOffTheListNeverReachQemu) {
  GdbClient client(door_->port());
  client.Attach();
  const std::size_t before = stub_.packets().size();
  const char* packets[] = {
      "!", "R00", "r", "vRun;2f", "vAttach;1", "vFile:open:2f,0,0", "F-1,1", "X0,1:a", "i", "kill",
      "vKill", "vMustReplyEmpty", "qSymbol::", "Qqemu.sstep=7", "QPassSignals:", "qRcmd", "zz\x01",
      "", "A", "t",
      // lldb's
      "QThreadSuffixSupported", "QListThreadsInStopReply", "QEnableErrorStrings", "qHostInfo",
      "qProcessInfo", "qVAttachOrWaitSupported", "qRegisterInfo0", "qMemoryRegionInfo:0",
      "qShlibInfoAddr", "jThreadsInfo", "jGetLoadedDynamicLibrariesInfos:{}", "x0,4", "_M100,rwx",
      "QSaveRegisterState",
      // QEMU's own
      "qqemu.sstepbits", "qqemu.sstep", "qqemu.Supported", "Qqemu.PhyMemMode"};
  for (const char* packet : packets) {
    SCOPED_TRACE(packet);
    EXPECT_EQ(client.Ask(packet), "");
  }
  EXPECT_EQ(stub_.packets().size(), before);
  EXPECT_EQ(io_thread_.traffic().refused_packets.value(), std::size(packets));
}

TEST_F(GatewayTest, DetachLeavesTheGuestRunningAndClean) {
  GdbClient client(door_->port());
  client.Attach();
  EXPECT_EQ(client.Ask("Z1,ffffffff81000000,1"), "OK");
  EXPECT_EQ(client.Ask("D"), "OK");
  ExpectCleanAndRunning();
  EXPECT_EQ(door_->holder(), std::nullopt) << "free when the answer is there";
  EXPECT_THAT(stub_.packets(), Not(Contains("D")));
  EXPECT_THAT(policy_.events(),
              ElementsAre("attached " + client.name(), "detached " + client.name()));
  EXPECT_EQ(client.Read(), std::nullopt);
}

TEST_F(GatewayTest, KillDetachesAndTheGuestLivesOn) {
  for (const char* kill : {"k", "vKill;1"}) {
    for (const bool while_running : {false, true}) {
      SCOPED_TRACE(kill);
      GdbClient client(door_->port());
      client.Attach();
      EXPECT_EQ(client.Ask("Z0,2000,1"), "OK");
      if (while_running) {
        client.Send("c");
        ASSERT_TRUE(stub_.WaitRunning(true));
      }
      client.Send(kill);
      if (kill[0] == 'v') {
        EXPECT_EQ(client.Read(), "OK");
      }
      EXPECT_EQ(client.Read(), std::nullopt);
      ExpectCleanAndRunning();
    }
  }
  EXPECT_THAT(stub_.packets(), Not(Contains("k")));
}

TEST_F(GatewayTest, VanishedClientLeavesNothingAndTheNextIsClean) {
  const std::string endings[] = {"", "$m0", "$Z0,3000,1#", "$g#6", "+", "\x03", "$vCont;c#a8"};
  std::size_t gone = 0;
  for (const std::string& ending : endings) {
    SCOPED_TRACE(ending);
    GdbClient client(door_->port());
    EXPECT_THAT(client.Attach(), StartsWith("QStart"));
    EXPECT_EQ(client.Ask("Z1,1000,1"), "OK");
    EXPECT_EQ(client.Ask("Hg2"), "OK");
    client.SendRaw(ending);
    client.Vanish();
    GdbClient next(door_->port());
    EXPECT_THAT(next.Attach(), StartsWith("QStart")) << "waits while the guest is cleaned";
    EXPECT_THAT(stub_.breakpoints(), IsEmpty());
    EXPECT_EQ(next.Ask("m0,2"), "5a5a");
    EXPECT_EQ(next.Ask("D"), "OK");
    ASSERT_TRUE(policy_.WaitForDetach(gone += 2));
    ExpectCleanAndRunning();
  }
  EXPECT_EQ(stub_.naks(), 0);
}

TEST_F(GatewayTest, SecondClientIsToldWhoHoldsTheGuest) {
  GdbClient first(door_->port());
  first.Attach();
  GdbClient second(door_->port());
  EXPECT_THAT(second.Attach(), HasSubstr("E.this guest is being debugged by " + first.name()));
  EXPECT_THAT(second.Ask("vMustReplyEmpty"), HasSubstr(first.name()));
  EXPECT_EQ(first.Ask("m0,1"), "5a") << "undisturbed";
  EXPECT_EQ(io_thread_.traffic().refused_clients.value(), 1u);
  first.Ask("D");
  GdbClient third(door_->port());
  EXPECT_THAT(third.Attach(), StartsWith("QStart"));
}

TEST_F(GatewayTest, PolicyMayRefuse) {
  policy_.Refuse(absl::PermissionDeniedError("this session is alice's"));
  GdbClient client(door_->port());
  EXPECT_EQ(client.Attach(), "E.this session is alice's");
  EXPECT_THAT(policy_.events(), IsEmpty());
  EXPECT_EQ(door_->holder(), std::nullopt);
}

TEST_F(GatewayTest, SilentConnectionDisturbsNobody) {
  LetRun();
  GdbClient scanner(door_->port());
  GdbClient other(door_->port());
  other.SendRaw("GET / HTTP/1.1\r\n\r\n");
  GdbClient client(door_->port());
  EXPECT_THAT(client.Attach(), StartsWith("QStart"));
  EXPECT_EQ(client.Ask("D"), "OK");
  ExpectCleanAndRunning();
}

TEST_F(GatewayTest, MalformedPacketsAreNakedCountedAndGoNoFurther) {
  GdbClient client(door_->port());
  client.Attach();
  const std::size_t before = stub_.packets().size();
  for (const char* bytes : {"$m0,4#00", "$m0,4#zz", "$m0}#4a"}) {
    SCOPED_TRACE(bytes);
    client.SendRaw(bytes);
    EXPECT_EQ(client.ReadEvent()->kind, rsp::Event::Kind::kNack);
  }
  client.SendRaw("$m0,");
  EXPECT_EQ(client.Ask("m0,1"), "5a") << "a frame begun anew is no NAK";
  EXPECT_EQ(stub_.packets().size(), before + 1);
  EXPECT_EQ(io_thread_.traffic().malformed_packets.value(), 4u);
}

TEST_F(GatewayTest, WhatPassesIsCountedEachWay) {
  GdbClient client(door_->port());
  client.Attach();
  const Traffic& traffic = io_thread_.traffic();
  const Flow* const flows[] = {&traffic.from_clients, &traffic.to_stubs, &traffic.from_stubs,
                               &traffic.to_clients};
  std::vector<std::uint64_t> packets;
  std::vector<std::uint64_t> bytes;
  for (const Flow* flow : flows) {
    packets.push_back(flow->packets.value());
    bytes.push_back(flow->bytes.value());
  }
  client.Ask("m0,1");
  for (std::size_t i = 0; i < std::size(flows); ++i) {
    EXPECT_EQ(flows[i]->packets.value(), packets[i] + 1) << i;
    EXPECT_GE(flows[i]->bytes.value(), bytes[i] + std::string_view("$5a#96").size()) << i;
  }
  EXPECT_EQ(traffic.attached_clients.value(), 1u);
}

TEST_F(GatewayTest, OversizedPacketsAreRefusedAndBounded) {
  GdbClient client(door_->port());
  client.Attach();
  const std::size_t before = stub_.packets().size();
  EXPECT_THAT(client.Ask("M0,1000:" + std::string(8000, '0')), StartsWith("E.")) << "for QEMU";
  EXPECT_THAT(client.Ask("M0,10000:" + std::string(40000, '0')), StartsWith("E.")) << "for us";
  client.SendRaw("$M" + std::string(60000, '0'));
  EXPECT_EQ(client.Ask("m0,1"), "5a");
  EXPECT_EQ(stub_.packets().size(), before + 1);
}

TEST_F(GatewayTest, ClientThatNeverWaitsIsCutOff) {
  GdbClient client(door_->port());
  client.Attach();
  stub_.Mute(true);
  std::string flood;
  for (int i = 0; i < 20000; ++i) flood += "$g#67";
  client.SendRaw(flood);
  while (client.ReadEvent()) {
  }
  stub_.Mute(false);
  EXPECT_EQ(io_thread_.traffic().from_clients.packets.value(), 3u);
}

TEST_F(GatewayTest, AThousandConnectionsLeaveNothingBehind) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = descriptors();
  for (int i = 0; i < 1000; ++i) {
    GdbClient client(door_->port());
    ASSERT_TRUE(client.connected()) << i;
    if (i % 4 == 1) client.SendRaw("$m0,");
    if (i % 4 == 2) client.SendRaw("\x16\x03\x01\x02");
    if (i % 4 == 3) client.Send("qSupported");
  }
  GdbClient client(door_->port());
  // While the last of them is cleaned up after there may be no place.
  std::string answer = client.Attach();
  EXPECT_THAT(answer, StartsWith("QStart"));
  EXPECT_EQ(client.Ask("m0,1"), "5a");
  EXPECT_EQ(client.Ask("D"), "OK");
  ExpectCleanAndRunning();
  EXPECT_LE(descriptors(), before + 20);
}

TEST_F(GatewayTest, ADoorLetsGoOfAStubThatAnswersNoMore) {
  GdbClient client(door_->port());
  client.Attach();
  stub_.Mute(true);
  client.Send("g");
  ASSERT_TRUE(stub_.WaitForPacket("g", absl::Seconds(5)));
  door_.reset();
  const std::weak_ptr<StubLink> link = link_;
  link_.reset();
  EXPECT_TRUE(link.expired());
}

TEST_F(GatewayTest, ClientThatNeverReadsIsCutOff) {
  GdbClient client(door_->port());
  const int small = 4096;
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  client.Attach();
  // Each request after the last was answered, until the socket buffers and the gateway's own limit
  // are full.
  for (int i = 0; i < 5000; ++i) {
    const std::string request = "m" + rsp::HexEncode(std::to_string(i)) + ",800";
    client.Send(request);
    if (!stub_.WaitForPacket(request, absl::Seconds(1))) break;
  }
  EXPECT_TRUE(policy_.WaitForDetach());
  ExpectCleanAndRunning();
}

TEST_F(GatewayTest, QemuKilledLooksLikeTheEndOfTheProgram) {
  GdbClient client(door_->port());
  client.Attach();
  client.Send("c");
  ASSERT_TRUE(stub_.WaitRunning(true));
  stub_.Die();
  EXPECT_EQ(client.Read(), "X09");
  EXPECT_EQ(client.Read(), std::nullopt);
  EXPECT_TRUE(policy_.WaitForDetach());
}

TEST_F(GatewayTest, ClosingTheDoorEndsTheClientAndLeavesTheGuestClean) {
  GdbClient client(door_->port());
  client.Attach();
  EXPECT_EQ(client.Ask("Z0,1000,1"), "OK");
  const int port = door_->port();
  door_.reset();
  EXPECT_THAT(policy_.events(), Contains("detached " + client.name()));
  EXPECT_EQ(client.Read(), std::nullopt);
  ExpectCleanAndRunning();
  EXPECT_FALSE(GdbClient(port).connected());
  EXPECT_TRUE(ReservedPort::Bind("127.0.0.1", port).ok()) << "the port is free at once";
}

TEST_F(GatewayTest, ADoorThatIsClosedLetsNobodyInWhoeverStillHasIt) {
  GdbClient client(door_->port());
  client.Attach();
  const int port = door_->port();
  door_->Close();
  ExpectCleanAndRunning();
  EXPECT_TRUE(policy_.WaitForDetach());
  const std::size_t events = policy_.events().size();
  EXPECT_TRUE(ReservedPort::Bind("127.0.0.1", port).ok()) << "the port is free";
  Door::StreamEvents nothing{.to_client = [](const std::string&) {}, .closed = [] {}};
  EXPECT_FALSE(door_->AttachStream({.client = "late"}, std::move(nothing)).ok());
  EXPECT_EQ(policy_.events().size(), events);
}

TEST_F(GatewayTest, ADoorThatLeavesTheGuestAsItIsLeavesAHaltedOneHaltedAndClean) {
  GdbClient client(door_->port());
  client.Attach();
  client.Ask("Z0,1000,1");
  ASSERT_FALSE(stub_.breakpoints().empty());
  door_->LeaveAsItIs();
  door_.reset();
  EXPECT_FALSE(stub_.running());
  EXPECT_THAT(stub_.breakpoints(), IsEmpty());
}

TEST_F(GatewayTest, ADoorThatLeavesTheGuestAsItIsLeavesARunningOneRunning) {
  GdbClient client(door_->port());
  client.Attach();
  client.Ask("Z0,1000,1");
  client.Send("c");
  ASSERT_TRUE(stub_.WaitRunning(true));
  door_->LeaveAsItIs();
  door_.reset();
  ExpectCleanAndRunning();
}

TEST_F(GatewayTest, AttachedClientDecidesWhenTheGuestRuns) {
  GdbClient client(door_->port());
  client.Attach();
  const absl::Status refused = link_->Continue();
  EXPECT_TRUE(HasReason(refused, Reason::kHolderBusy)) << refused;
  client.Send("c");
  ASSERT_TRUE(stub_.WaitRunning(true));
  EXPECT_TRUE(link_->Interrupt().ok()) << "a pause from elsewhere";
  EXPECT_EQ(client.Read(), "T02thread:01;") << "and gdb sees it";
}

class StreamTest : public GatewayTest {
 protected:
  absl::StatusOr<std::unique_ptr<ClientStream>> Attach(
      const std::string& user, Door::IfHeld if_held = Door::IfHeld::kRefuse) {
    return door_->AttachStream({"user " + user},
                               {[this](std::string bytes) {
                                  absl::MutexLock lock(&mutex_);
                                  received_ += bytes;
                                },
                                [this] { closed_.Notify(); }},
                               if_held);
  }
  bool WaitFor(std::string_view text) {
    absl::MutexLock lock(&mutex_);
    const auto there = [this, text]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return received_.find(text) != std::string::npos;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(5));
  }

  absl::Mutex mutex_;
  std::string received_;
  absl::Notification closed_;
};

TEST_F(StreamTest, SpeaksLikeTcp) {
  auto stream = Attach("alice");
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(door_->holder()->client, "user alice");
  (*stream)->Send("$m0,");
  (*stream)->Send("2#fb");
  EXPECT_TRUE(WaitFor("$5a5a#"));
  (*stream)->Send("$D#44");
  EXPECT_TRUE(WaitFor("$OK#9a"));
  EXPECT_TRUE(closed_.WaitForNotificationWithTimeout(absl::Seconds(5)));
  ExpectCleanAndRunning();
}

TEST_F(StreamTest, IsRefusedWithTheHoldersName) {
  auto stream = Attach("alice");
  ASSERT_TRUE(stream.ok());
  const auto second = Attach("bob");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(second.status())->metadata.at("holder"), "user alice");
  GdbClient tcp(door_->port());
  EXPECT_THAT(tcp.Attach(), HasSubstr("user alice"));
}

TEST_F(StreamTest, ATakeOverTellsTheHolderAndLeavesTheGuestWhereItIs) {
  GdbClient first(door_->port());
  first.Attach();
  EXPECT_EQ(first.Ask("Z0,1000,1"), "OK");
  auto stream = Attach("alice", Door::IfHeld::kTakeOver);
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(first.Read(), "E.user alice has taken over this guest");
  EXPECT_EQ(first.Read(), std::nullopt);
  EXPECT_EQ(door_->holder()->client, "user alice");
  (*stream)->Send(rsp::Encode("m0,2"));
  EXPECT_TRUE(WaitFor("$5a5a#"));
  EXPECT_FALSE(stub_.running());
  EXPECT_THAT(stub_.breakpoints(), IsEmpty());
  EXPECT_THAT(stub_.packets(), Not(Contains("c")));
  EXPECT_THAT(policy_.events(), ElementsAre("attached " + first.name(), "detached " + first.name(),
                                            "attached user alice"));
}

TEST_F(StreamTest, AHolderThatWaitsForAStopIsToldOnItsConsole) {
  GdbClient first(door_->port());
  first.Attach();
  first.Send("c");
  ASSERT_TRUE(stub_.WaitRunning(true));
  auto stream = Attach("alice", Door::IfHeld::kTakeOver);
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ(first.Read(), "O" + rsp::HexEncode("user alice has taken over this guest\n"));
  EXPECT_EQ(first.Read(), std::nullopt);
  EXPECT_TRUE(stub_.running()) << "until the new one says something";
}

TEST_F(StreamTest, WhoMayNotComeInTakesNothingOver) {
  GdbClient first(door_->port());
  first.Attach();
  policy_.Refuse(absl::PermissionDeniedError("not yours"));
  EXPECT_FALSE(Attach("mallory", Door::IfHeld::kTakeOver).ok());
  EXPECT_EQ(first.Ask("m0,1"), "5a");
}

TEST_F(StreamTest, AHolderWhoMayNotStayIsToldAndItsBreakpointsGo) {
  GdbClient holder(door_->port());
  holder.Attach();
  EXPECT_EQ(holder.Ask("Z0,1000,1"), "OK");
  door_->AskAgain();
  EXPECT_EQ(holder.Ask("m0,1"), "5a") << "it may stay";
  policy_.Refuse(absl::FailedPreconditionError("nobody may come in now"));
  door_->AskAgain();
  EXPECT_EQ(holder.Ask("m0,1"), "5a");
  policy_.Refuse(absl::PermissionDeniedError("this session is alice's"));
  door_->AskAgain();
  EXPECT_EQ(holder.Read(), "E.this session is alice's");
  EXPECT_EQ(holder.Read(), std::nullopt);
  EXPECT_TRUE(policy_.WaitForDetach());
  ExpectCleanAndRunning();
}

TEST_F(StreamTest, DroppingItIsVanishing) {
  {
    auto stream = Attach("alice");
    ASSERT_TRUE(stream.ok());
    (*stream)->Send(rsp::Encode("Z0,1000,1"));
    EXPECT_TRUE(WaitFor("$OK#9a"));
  }
  EXPECT_TRUE(policy_.WaitForDetach());
  ExpectCleanAndRunning();
}

TEST_F(StreamTest, EndsWithTheDoor) {
  auto stream = Attach("alice");
  ASSERT_TRUE(stream.ok());
  door_.reset();
  EXPECT_TRUE(closed_.WaitForNotificationWithTimeout(absl::Seconds(5)));
  (*stream)->Send("$g#67");
}

TEST(ReservedPort, IsHeldUntilReleased) {
  auto port = ReservedPort::Bind("127.0.0.1", 0);
  ASSERT_TRUE(port.ok());
  const int number = port->port();
  EXPECT_EQ(ReservedPort::Bind("127.0.0.1", number).status().code(),
            absl::StatusCode::kAlreadyExists);
  { const ReservedPort moved = *std::move(port); }
  EXPECT_TRUE(ReservedPort::Bind("localhost", number).ok());
}

TEST(ReservedPort, RefusesWhatIsNoAddress) {
  EXPECT_EQ(ReservedPort::Bind("example.org", 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReservedPort::Bind("127.0.0.1", 70000).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kdbg::gdb
