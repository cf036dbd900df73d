// The one connection to a guest's gdb stub, as the I/O thread sees it: requests answered in order,
// the run state, the byte-level manners that QEMU's stub demands. StubLink is its blocking face,
// DoorCore relays clients over it.
//
// Everything is for the I/O thread except what says otherwise. Handlers are called on it, possibly
// before the call that takes them returns.
//
// The manners: any byte sent while the guest runs stops it (0x03 is how one means that), so nothing
// else is ever sent then. An acknowledgement is never hurried: it travels in front of the next
// packet, which saves QEMU a wake-up on the critical path and cannot arrive after the guest has
// been started from elsewhere.
#pragma once

#include <array>
#include <asio/awaitable.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/rsp/packet.h"
#include "proto/support/unique_fd.h"
#include "server/base/subscribers.h"
#include "server/gdb/outbound.h"
#include "server/gdb/stop_reply.h"

namespace kdbg::gdb {

class IoThread;
struct Traffic;

// Where `p` finds what every architecture has, and, with 8 bytes for each before it, `g`.
struct RegisterNumbers {
  int pc;
  int sp;
};

class StubChannel : public std::enable_shared_from_this<StubChannel> {
 public:
  using ReplyHandler = std::function<void(absl::StatusOr<std::string>)>;
  using StopHandler = std::function<void(absl::StatusOr<StopReply>)>;

  StubChannel(IoThread& io_thread, UniqueFd connected);

  // Puts the stub into a known state, whatever an earlier connection left: halted, no breakpoints,
  // its features read.
  void Handshake(std::function<void(absl::Status)> done);
  void Close();

  // One request; FAILED_PRECONDITION (kWrongState) if the guest runs when its turn comes.
  void Exchange(std::string payload, ReplyHandler handler);
  // A line for QEMU's own monitor and what it prints. It is a console on the host: nothing that a
  // client said may be part of the line.
  void Monitor(std::string_view line, ReplyHandler handler);
  // A packet that makes the guest run. `started` when it has been sent; `ended` with the packet
  // that ends the run: a stop reply or the stub's refusal.
  void Resume(std::string payload, std::function<void(absl::Status)> started, ReplyHandler ended);
  // Calls `handler` when the guest is halted, with why.
  void Halt(StopHandler handler);

  // What the stub's qSupported said; the longest payload it takes and gives.
  const std::vector<std::string>& features() const { return features_; }
  std::size_t packet_size() const { return packet_size_; }
  // Of the architecture that its target description names; null: one we do not know.
  const RegisterNumbers* registers() const { return registers_; }
  asio::any_io_executor executor() { return socket_.get_executor(); }

  // From any thread.
  bool running() const;
  bool lost() const;
  absl::StatusOr<StopReply> WaitStop(absl::Time deadline, std::stop_token cancel);
  void SetClient(std::optional<std::string> client);  // who decides about running, while attached
  std::optional<std::string> client() const;
  Subscribers<const StopReply&>& on_stop() { return on_stop_; }
  Subscribers<>& on_lost() { return on_lost_; }

 private:
  enum class RequestKind { kExchange, kResume };
  struct Request {
    RequestKind kind;
    std::string frame;
    std::function<void(absl::Status)> started;
    ReplyHandler handler;
    std::optional<std::string> printed = std::nullopt;  // by the monitor, so far
  };

  asio::awaitable<void> ReadLoop();
  void Handle(const rsp::Event& event);
  void HandlePacket(const std::string& payload);
  void HandleStop(const std::string& payload);
  void Pump();
  void Transmit(std::string_view bytes);
  void Resend();
  void ExpectHaltSoon();
  void Lose();
  void ReadFeatures(std::string_view answer);
  void ReadArchitecture(std::string_view description);
  void SetRunning(bool running, const std::optional<StopReply>& stop);

  Traffic& traffic_;
  asio::local::stream_protocol::socket socket_;
  asio::steady_timer resend_timer_;
  asio::steady_timer halt_timer_;
  rsp::PacketParser parser_;
  std::array<char, 8192> read_buffer_;
  Outbound<asio::local::stream_protocol::socket> outbound_;

  std::deque<Request> queue_;
  std::optional<Request> current_;  // an exchange sent and not answered
  std::string last_frame_;
  bool awaiting_ack_ = false;  // of last_frame_
  bool ack_owed_ = false;
  int resends_ = 0;
  bool handshaking_ = false;
  bool closing_ = false;
  bool interrupt_sent_ = false;
  ReplyHandler run_ended_;
  std::vector<StopHandler> halt_waiters_;
  std::vector<std::string> features_;
  std::size_t packet_size_ = 1024;
  const RegisterNumbers* registers_ = nullptr;

  Subscribers<const StopReply&> on_stop_;
  Subscribers<> on_lost_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool lost_ ABSL_GUARDED_BY(mutex_) = false;
  StopReply last_stop_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> client_ ABSL_GUARDED_BY(mutex_);
};

absl::Status VmLost();  // UNAVAILABLE, kVmLost

}  // namespace kdbg::gdb
