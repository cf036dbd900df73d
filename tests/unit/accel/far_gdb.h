// A gdb far from its guest: the accelerator at its end, the daemon's side of the AttachGdb stream
// at the other, and every frame carried by hand in between.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "client/accel/accelerator.h"
#include "proto/rsp/packet.h"
#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "server/service/gdb_talk.h"
#include "tests/support/fake_stub.h"
#include "tests/support/gdb_client.h"
#include "tests/support/simulated_guest.h"
#include "tests/support/temp_socket.h"

namespace kdbg {

class OpenPolicy final : public gdb::ClientPolicy {
 public:
  absl::Status Admit(const gdb::Attachment&) override { return absl::OkStatus(); }
  void Attached(const gdb::Attachment&) override {}
  void Detached(const gdb::Attachment&) override {}
  std::optional<std::string> Monitor(std::string_view command) override {
    if (command == "another guest") {
      asked_.Notify();
      return std::nullopt;
    }
    return "monitor " + std::string(command) + "\n";
  }
  void WaitForQuestion() const { asked_.WaitForNotification(); }

 private:
  absl::Notification asked_;
};

// A simulated guest behind a door.
class GuestAndDoor {
 public:
  explicit GuestAndDoor(SimulatedGuest::Breakpoints breakpoints) : guest_(breakpoints) {
    stub_.SetGuest(&guest_);
    auto link = gdb::StubLink::Connect(io_thread_, socket_.path(), gdb::CpuState::kHalted);
    EXPECT_TRUE(link.ok()) << link.status();
    link_ = *std::move(link);
    auto port = gdb::ReservedPort::Bind("127.0.0.1", 0);
    EXPECT_TRUE(port.ok()) << port.status();
    auto door = gateway_.Open(*std::move(port), link_, policy_);
    EXPECT_TRUE(door.ok()) << door.status();
    door_ = *std::move(door);
  }

  SimulatedGuest& guest() { return guest_; }
  FakeStub& stub() { return stub_; }
  const std::shared_ptr<gdb::Door>& door() { return door_; }
  const OpenPolicy& policy() const { return policy_; }
  gdb::IoThread& io_thread() { return io_thread_; }

 private:
  SimulatedGuest guest_;
  TempSocket socket_;
  FakeStub stub_{socket_.path()};
  gdb::IoThread io_thread_;
  gdb::Gateway gateway_{io_thread_};
  OpenPolicy policy_;
  std::shared_ptr<gdb::StubLink> link_;
  std::shared_ptr<gdb::Door> door_;
};

class FarGdb {
 public:
  explicit FarGdb(const std::shared_ptr<gdb::Door>& door) {
    v1::GdbClientFrame::Start start;
    start.set_frame_version(2);
    auto talk = service::MakeGdbTalk(door, "alice", start, [woken = woken_] {
      absl::MutexLock lock(&woken->mutex);
      woken->set = true;
    });
    EXPECT_TRUE(talk.ok()) << talk.status();
    if (talk.ok()) talk_ = *std::move(talk);
  }

  void SendRaw(std::string_view bytes) { Carry(accelerator_.FromGdb(bytes)); }
  void Send(std::string_view payload) { SendRaw(rsp::Encode(payload)); }
  // The next packet for gdb; nullopt when none comes.
  std::optional<std::string> Read() {
    while (packets_.empty()) {
      if (!CarryNext()) return std::nullopt;
    }
    std::string packet = std::move(packets_.front());
    packets_.pop_front();
    return packet;
  }
  std::string Ask(std::string_view payload) {
    Send(payload);
    return Read().value_or("(end)");
  }
  void StopAcks() { EXPECT_EQ(Ask("QStartNoAckMode"), "OK"); }
  void Vanish() { talk_.reset(); }

  std::uint64_t round_trips() const { return accelerator_.counters().round_trips; }
  // Of one packet.
  std::uint64_t RoundTripsOf(std::string_view payload) {
    const std::uint64_t before = round_trips();
    Ask(payload);
    return round_trips() - before;
  }
  // Everything that came outside packets: acknowledgements.
  const std::string& acks() const { return acks_; }
  std::size_t bytes_received() const { return bytes_received_; }

 private:
  struct Woken {
    absl::Mutex mutex;
    bool set ABSL_GUARDED_BY(mutex) = false;
  };

  void Carry(const client::Accelerator::Output& output) {
    if (!output.to_server.empty()) {
      v1::GdbClientFrame frame;
      frame.set_rsp(output.to_server);
      EXPECT_TRUE(talk_->Take(frame).ok());
    }
    std::string_view bytes = output.to_gdb;
    while (auto event = parser_.Next(bytes)) {
      if (event->kind == rsp::Event::Kind::kPacket) packets_.push_back(event->payload);
      if (event->kind == rsp::Event::Kind::kAck) acks_ += '+';
      if (event->kind == rsp::Event::Kind::kNack) acks_ += '-';
    }
  }

  bool CarryNext() {
    while (true) {
      v1::GdbServerFrame frame;
      const auto pull = talk_->Next(&frame);
      if (!pull.ok() || *pull == service::Pull::kEnd) return false;
      if (*pull == service::Pull::kMessage) {
        bytes_received_ += frame.ByteSizeLong();
        Carry(accelerator_.FromServer(frame));
        return true;
      }
      absl::MutexLock lock(&woken_->mutex);
      if (!woken_->mutex.AwaitWithTimeout(absl::Condition(&woken_->set), absl::Seconds(10))) {
        return false;
      }
      woken_->set = false;
    }
  }

  const std::shared_ptr<Woken> woken_ = std::make_shared<Woken>();
  client::Accelerator accelerator_;
  std::unique_ptr<service::GdbTalk> talk_;
  rsp::PacketParser parser_{1 << 20};
  std::deque<std::string> packets_;
  std::string acks_;
  std::size_t bytes_received_ = 0;
};

}  // namespace kdbg
