#include "server/gdb/stub_channel.h"

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "proto/contract/error.h"
#include "proto/rsp/hex.h"
#include "server/gdb/io_thread.h"
#include "server/observe/log.h"

namespace kdbg::gdb {
namespace {

// QEMU's answers are at most 4 KiB; more than this is not a stub.
constexpr std::size_t kMaximumAnswer = 64 * 1024;
constexpr int kMaximumResends = 3;
constexpr std::chrono::milliseconds kResendDelay{250};
constexpr std::chrono::seconds kHaltPatience{1};

absl::Status GuestRuns() {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   "the guest runs: halt it first");
}

}  // namespace

absl::Status VmLost() {
  return MakeError(
      absl::StatusCode::kUnavailable, Reason::kVmLost,
      "the guest's gdb stub is gone: the virtual machine has ended; create a new session");
}

StubChannel::StubChannel(IoThread& io_thread, UniqueFd connected)
    : traffic_(io_thread.traffic()),
      socket_(io_thread.context()),
      resend_timer_(io_thread.context()),
      halt_timer_(io_thread.context()),
      parser_(kMaximumAnswer),
      outbound_(socket_) {
  asio::error_code error;
  socket_.assign(asio::local::stream_protocol(), connected.Release(), error);
  socket_.non_blocking(true, error);
}

void StubChannel::Handshake(std::function<void(absl::Status)> done) {
  asio::co_spawn(
      socket_.get_executor(), [self = shared_from_this()] { return self->ReadLoop(); },
      asio::detached);
  // An acknowledgement first: the last answer to an earlier connection may still be waiting for
  // one, and until then QEMU looks at nothing but '+', '-' and '$'. Half a packet left by it makes
  // our first one a bad checksum, which is NAKed and sent again. `?` drops all breakpoints; reading
  // target.xml once is what makes QEMU answer `p`.
  handshaking_ = true;
  ack_owed_ = true;
  auto self = shared_from_this();
  Exchange("?", [self, done](absl::StatusOr<std::string> reply) {
    self->handshaking_ = false;
    if (!reply.ok()) return done(reply.status());
    if (auto stop = ParseStopReply(*reply)) self->SetRunning(false, *stop);
    self->Exchange("qSupported:hwbreak+;swbreak+;vContSupported+",
                   [self, done](absl::StatusOr<std::string> features) {
                     if (!features.ok()) return done(features.status());
                     self->ReadFeatures(*features);
                     self->Exchange("qXfer:features:read:target.xml:0,ffb",
                                    [self, done](absl::StatusOr<std::string> xml) {
                                      if (xml.ok()) self->ReadArchitecture(*xml);
                                      done(xml.status());
                                    });
                   });
  });
}

void StubChannel::ReadFeatures(std::string_view answer) {
  constexpr std::string_view kPacketSize = "PacketSize=";
  while (!answer.empty()) {
    const std::size_t end = std::min(answer.find(';'), answer.size());
    const std::string_view feature = answer.substr(0, end);
    answer.remove_prefix(std::min(end + 1, answer.size()));
    features_.emplace_back(feature);
    if (feature.substr(0, kPacketSize.size()) == kPacketSize) {
      const auto size = rsp::ParseHexNumber(feature.substr(kPacketSize.size()));
      if (size && *size >= 64 && *size <= kMaximumAnswer) packet_size_ = *size;
    }
  }
}

void StubChannel::ReadArchitecture(std::string_view description) {
  static constexpr struct {
    std::string_view name;
    RegisterNumbers registers;
  } kArchitectures[] = {
      {"<architecture>i386:x86-64</architecture>", {.pc = 16, .sp = 7}},
      {"<architecture>aarch64</architecture>", {.pc = 32, .sp = 31}},
      {"<architecture>riscv:rv64</architecture>", {.pc = 32, .sp = 2}},
  };
  for (const auto& known : kArchitectures) {
    if (description.find(known.name) != std::string_view::npos) registers_ = &known.registers;
  }
}

void StubChannel::Close() {
  closing_ = true;
  Lose();
}

void StubChannel::Exchange(std::string payload, ReplyHandler handler) {
  queue_.push_back({RequestKind::kExchange, rsp::Encode(payload), nullptr, std::move(handler)});
  Pump();
}

void StubChannel::Monitor(std::string_view line, ReplyHandler handler) {
  queue_.push_back({RequestKind::kExchange, rsp::Encode("qRcmd," + rsp::HexEncode(line)), nullptr,
                    std::move(handler), std::string()});
  Pump();
}

void StubChannel::Resume(std::string payload, std::function<void(absl::Status)> started,
                         ReplyHandler ended) {
  queue_.push_back(
      {RequestKind::kResume, rsp::Encode(payload), std::move(started), std::move(ended)});
  Pump();
}

void StubChannel::Halt(StopHandler handler) {
  if (lost()) return handler(VmLost());
  if (!running()) {
    StopReply stop;
    {
      absl::MutexLock lock(&mutex_);
      stop = last_stop_;
    }
    return handler(std::move(stop));
  }
  halt_waiters_.push_back(std::move(handler));
  if (!std::exchange(interrupt_sent_, true)) {
    Transmit(std::string_view(&rsp::kInterruptByte, 1));
    ExpectHaltSoon();
  }
}

// A guest that was told to run may not have: QEMU starts none that has shut down or met an internal
// error, and says nothing. Then 0x03 has no answer either, but `?` has.
void StubChannel::ExpectHaltSoon() {
  halt_timer_.expires_after(kHaltPatience);
  halt_timer_.async_wait([weak = weak_from_this()](asio::error_code error) {
    auto self = weak.lock();
    if (error || !self || !self->running()) return;
    self->SetRunning(false, std::nullopt);
    self->queue_.push_front({RequestKind::kExchange, rsp::Encode("?"), nullptr,
                             [self](absl::StatusOr<std::string> reply) {
                               if (reply.ok()) self->HandleStop(*reply);
                             }});
    self->Pump();
  });
}

// Sends what may be sent: one exchange at a time, nothing while the guest runs.
void StubChannel::Pump() {
  while (!current_ && !queue_.empty()) {
    Request request = std::move(queue_.front());
    queue_.pop_front();
    const absl::Status state = lost() ? VmLost() : running() ? GuestRuns() : absl::OkStatus();
    if (!state.ok()) {
      if (request.started) request.started(state);
      request.handler(state);
      continue;
    }
    last_frame_ = request.frame;
    traffic_.to_stubs.packets.Add(1);
    awaiting_ack_ = true;
    resends_ = 0;
    if (request.kind == RequestKind::kResume) {
      SetRunning(true, std::nullopt);
      interrupt_sent_ = false;
      run_ended_ = std::move(request.handler);
      Transmit(last_frame_);
      if (request.started) request.started(absl::OkStatus());
    } else {
      current_ = std::move(request);
      Transmit(last_frame_);
    }
  }
}

void StubChannel::Transmit(std::string_view bytes) {
  traffic_.to_stubs.bytes.Add(bytes.size() + (ack_owed_ ? 1 : 0));
  if (std::exchange(ack_owed_, false)) outbound_.Append(std::string_view(&rsp::kAckByte, 1));
  outbound_.Append(bytes);
  outbound_.Flush(shared_from_this());
}

asio::awaitable<void> StubChannel::ReadLoop() {
  asio::error_code error;
  while (true) {
    const std::size_t size = co_await socket_.async_read_some(
        asio::buffer(read_buffer_), asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    traffic_.from_stubs.bytes.Add(size);
    std::string_view bytes(read_buffer_.data(), size);
    while (auto event = parser_.Next(bytes)) Handle(*event);
  }
  Lose();
}

void StubChannel::Handle(const rsp::Event& event) {
  switch (event.kind) {
    case rsp::Event::Kind::kAck:
      awaiting_ack_ = false;
      return;
    case rsp::Event::Kind::kNack:
      if (awaiting_ack_) Resend();
      return;
    case rsp::Event::Kind::kPacket:
      traffic_.from_stubs.packets.Add(1);
      ack_owed_ = true;
      return HandlePacket(event.payload);
    default:
      // A unix socket does not garble bytes; a stub that speaks like this is not one.
      spdlog::warn("gdb: the stub sent a malformed packet");
  }
}

void StubChannel::Resend() {
  if (++resends_ > kMaximumResends) return Lose();
  Transmit(last_frame_);
}

void StubChannel::HandlePacket(const std::string& payload) {
  // Answers come after the acknowledgement. A packet before it was under way already: either the
  // stop of a guest that had been running when this connection was made, and the acknowledgement
  // follows; or our request met a guest that somebody else had started, halted it and was lost.
  if (awaiting_ack_) {
    if (handshaking_ || !ParseStopReply(payload)) return;
    resend_timer_.expires_after(kResendDelay);
    resend_timer_.async_wait([weak = weak_from_this()](asio::error_code error) {
      auto self = weak.lock();
      if (!error && self && self->awaiting_ack_) self->Resend();
    });
    return;
  }
  if (current_ && current_->printed && payload[0] == 'O' && payload != "OK") {
    *current_->printed += rsp::HexDecode(payload.substr(1)).value_or("");
    return;
  }
  if (current_) {
    Request answered = std::move(*current_);
    current_.reset();
    const bool printed = answered.printed && payload == "OK";
    answered.handler(printed ? *std::move(answered.printed) : payload);
  } else {
    HandleStop(payload);
  }
  Pump();
}

// The end of a run, or news of a guest that somebody else started and stopped.
void StubChannel::HandleStop(const std::string& payload) {
  const std::optional<StopReply> stop = ParseStopReply(payload);
  // A guest with semihosting could ask gdb to open files on the developer's machine. It may not
  // (EPERM).
  if (!stop && payload.substr(0, 1) == "F") return Transmit(rsp::Encode("F-1,1"));
  halt_timer_.cancel();
  SetRunning(false, stop);
  if (auto ended = std::exchange(run_ended_, nullptr)) ended(payload);
  StopReply why;
  {
    absl::MutexLock lock(&mutex_);
    why = last_stop_;
  }
  for (auto& waiter : std::exchange(halt_waiters_, {})) waiter(why);
  if (stop) on_stop_.Notify(*stop);
}

void StubChannel::Lose() {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(lost_, true)) return;
    running_ = false;
    changed_.SignalAll();
  }
  asio::error_code ignored;
  socket_.close(ignored);
  resend_timer_.cancel();
  halt_timer_.cancel();
  if (auto request = std::exchange(current_, std::nullopt)) request->handler(VmLost());
  if (auto ended = std::exchange(run_ended_, nullptr)) ended(VmLost());
  for (auto& waiter : std::exchange(halt_waiters_, {})) waiter(VmLost());
  Pump();
  if (!closing_) on_lost_.Notify();
}

void StubChannel::SetRunning(bool running, const std::optional<StopReply>& stop) {
  absl::MutexLock lock(&mutex_);
  running_ = running;
  if (stop) last_stop_ = *stop;
  changed_.SignalAll();
}

bool StubChannel::running() const {
  absl::MutexLock lock(&mutex_);
  return running_;
}

bool StubChannel::lost() const {
  absl::MutexLock lock(&mutex_);
  return lost_;
}

void StubChannel::SetClient(std::optional<std::string> client) {
  absl::MutexLock lock(&mutex_);
  client_ = std::move(client);
}

std::optional<std::string> StubChannel::client() const {
  absl::MutexLock lock(&mutex_);
  return client_;
}

absl::StatusOr<StopReply> StubChannel::WaitStop(absl::Time deadline, std::stop_token cancel) {
  std::stop_callback wake(cancel, [this] {
    absl::MutexLock lock(&mutex_);
    changed_.SignalAll();
  });
  absl::MutexLock lock(&mutex_);
  while (running_ && !lost_ && !cancel.stop_requested()) {
    if (changed_.WaitWithDeadline(&mutex_, deadline) && running_ && !lost_) {
      return absl::DeadlineExceededError("the guest did not halt in time");
    }
  }
  if (lost_) return VmLost();
  if (running_) return absl::CancelledError("no longer waiting for the guest to halt");
  return last_stop_;
}

}  // namespace kdbg::gdb
