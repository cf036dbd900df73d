#include "server/gdb/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "proto/rsp/hex.h"
#include "server/gdb/door_core.h"
#include "server/gdb/foresight.h"
#include "server/gdb/io_thread.h"
#include "server/observe/log.h"

namespace kdbg::gdb {
namespace {

// gdb asks one thing at a time; who sends this much unanswered is no gdb.
constexpr std::size_t kMaximumBacklog = 64 * 1024;
constexpr std::size_t kMaximumPayload = 16 * 1024;
// Enough for gdb 13 to meet the one that it takes for final (vMustReplyEmpty).
constexpr int kMaximumRefusals = 4;
constexpr std::chrono::seconds kFirstPacketPatience{10};
constexpr std::chrono::seconds kFarewellPatience{5};

// What of the stub's own features a client may use. Without `multiprocess` thread ids stay plain
// and a detach names no process.
constexpr std::string_view kFeaturesPassedOn[] = {
    "PacketSize=", "qXfer:features:read+", "vContSupported+", "ReverseStep+", "ReverseContinue+"};

std::string ErrorText(std::string_view message) {
  std::string text = fmt::format("E.{}", message);
  std::replace_if(
      text.begin(), text.end(), [](char byte) { return byte < ' ' || byte > '~'; }, ' ');
  return text;
}

// Halts by itself, and would do so after its client has gone.
bool Steps(std::string_view packet) {
  return packet.find(";s") != std::string_view::npos ||
         packet.find(";S") != std::string_view::npos || packet[0] == 's' || packet[0] == 'S' ||
         packet == "bs";
}

std::string ErrorText(const absl::Status& status) {
  return ErrorText(std::string(status.message()));
}

}  // namespace

Client::Client(std::shared_ptr<DoorCore> door, Attachment attachment,
               std::shared_ptr<Transport> transport)
    : door_(std::move(door)),
      attachment_(std::move(attachment)),
      transport_(std::move(transport)),
      patience_(door_->io_thread().context()),
      parser_(kMaximumPayload) {}

void Client::StartPatience() {
  patience_.expires_after(kFirstPacketPatience);
  patience_.async_wait([weak = weak_from_this()](asio::error_code error) {
    auto self = weak.lock();
    const bool idle =
        self && (self->phase_ == Phase::kArriving || self->phase_ == Phase::kTurnedAway);
    if (!error && idle) self->CutOff();
  });
}

void Client::Admitted() { admitted_ = true; }

void Client::Begin(std::shared_ptr<Foresight> foresight) {
  foresight_ = std::move(foresight);
  acks_ = false;
  busy_ = true;
  TakeOver("");
}

void Client::Receive(std::string_view bytes) {
  door_->traffic().from_clients.bytes.Add(bytes.size());
  if (phase_ == Phase::kLeaving || phase_ == Phase::kGone) return;
  if (backlog_.size() + bytes.size() > kMaximumBacklog) {
    spdlog::warn("gdb: {} sends without waiting for answers; cut off", attachment_.client);
    return CutOff();
  }
  backlog_ += bytes;
  Process();
}

// Takes events off the backlog until one of them has to wait for the stub.
void Client::Process() {
  if (std::exchange(processing_, true)) return;
  auto self = shared_from_this();
  while (!busy_ && phase_ != Phase::kLeaving && phase_ != Phase::kGone) {
    std::string_view rest = backlog_;
    const auto event = parser_.Next(rest);
    backlog_.erase(0, backlog_.size() - rest.size());
    if (!event) break;
    Handle(*event);
  }
  processing_ = false;
}

void Client::Handle(const rsp::Event& event) {
  using Kind = rsp::Event::Kind;
  switch (event.kind) {
    case Kind::kAck:
      return;
    case Kind::kNack:
      if (acks_ && !last_frame_.empty()) Send(last_frame_);
      return;
    case Kind::kInterrupt:
      interrupted_ = waits_for_stop_;
      if (waits_for_stop_) door_->channel().Halt([](const absl::StatusOr<StopReply>&) {});
      return;
    case Kind::kMalformed:
      door_->traffic().malformed_packets.Add(1);
      return Acknowledge(rsp::kNackByte);
    case Kind::kTruncated:
      door_->traffic().malformed_packets.Add(1);
      return;
    case Kind::kOversized:
      door_->traffic().malformed_packets.Add(1);
      Acknowledge(rsp::kAckByte);
      return Reply(ErrorText("the packet is too long"));
    case Kind::kPacket:
      door_->traffic().from_clients.packets.Add(1);
      Acknowledge(rsp::kAckByte);
      return HandlePacket(event.payload);
  }
}

void Client::HandlePacket(const std::string& payload) {
  switch (phase_) {
    case Phase::kArriving:
      return Arrive(payload);
    case Phase::kAttached:
      return Dispatch(payload);
    case Phase::kTurnedAway:
      return Refuse();
    case Phase::kLeaving:
    case Phase::kGone:
      return;
  }
}

void Client::Arrive(const std::string& first_packet) {
  patience_.cancel();
  busy_ = true;
  if (admitted_) return TakeOver(first_packet);
  auto self = shared_from_this();
  door_->Claim(self, Door::IfHeld::kRefuse, [self, first_packet](const absl::Status& status) {
    if (self->phase_ != Phase::kArriving) return;
    if (status.ok()) {
      self->admitted_ = true;
      return self->TakeOver(first_packet);
    }
    self->busy_ = false;
    self->TurnAway(status);
    self->Process();
  });
}

void Client::TakeOver(const std::string& first_packet) {
  auto self = shared_from_this();
  door_->channel().Halt([self, first_packet](const absl::StatusOr<StopReply>& stop) {
    if (self->phase_ != Phase::kArriving) return;
    if (stop.ok() && self->foresight_) {
      self->phase_ = Phase::kAttached;
      return self->foresight_->Attach(*stop, self->Features(), [self] {
        self->busy_ = false;
        self->Process();
      });
    }
    self->busy_ = false;
    if (stop.ok()) {
      self->phase_ = Phase::kAttached;
      self->Dispatch(first_packet);
    } else {
      self->door_->Release(self, [] {});
      self->TurnAway(stop.status());
    }
    self->Process();
  });
}

void Client::TurnAway(const absl::Status& why) {
  door_->traffic().refused_clients.Add(1);
  spdlog::info("gdb: {} turned away: {}", attachment_.client, std::string(why.message()));
  phase_ = Phase::kTurnedAway;
  refusal_ = ErrorText(why);
  StartPatience();  // a place is not for who only waits
  Refuse();
}

void Client::Refuse() {
  Reply(refusal_);
  if (++refusals_ >= kMaximumRefusals) End();
}

void Client::Dispatch(const std::string& payload) {
  const Verdict verdict = JudgePacket(payload);
  const bool leaves = verdict == Verdict::kDetach || verdict == Verdict::kKill ||
                      verdict == Verdict::kKillWithReply;
  // While the guest runs gdb waits; whatever else comes then must not reach the stub, which would
  // halt the guest.
  if (waits_for_stop_ && !leaves) {
    door_->traffic().refused_packets.Add(1);
    return;
  }
  switch (verdict) {
    case Verdict::kForward:
      return Forward(payload);
    case Verdict::kResume:
      return Run(payload);
    case Verdict::kFeatures:
      return Reply(Features());
    case Verdict::kStopAcks:
      Reply("OK");
      acks_ = false;
      return;
    case Verdict::kMonitor:
      return AnswerMonitor(std::string_view(payload).substr(std::string_view("qRcmd,").size()));
    case Verdict::kDetach:
    case Verdict::kKillWithReply:
      return Leave("OK");
    case Verdict::kKill:
      return Leave("");
    case Verdict::kRefuse:
      door_->traffic().refused_packets.Add(1);
      return Reply("");
  }
}

void Client::Forward(const std::string& payload) {
  // QEMU drops a line longer than its buffer without a word, and the client would wait for ever.
  if (payload.size() + 2 > door_->channel().packet_size()) {
    door_->traffic().malformed_packets.Add(1);
    return Reply(ErrorText("the packet is too long"));
  }
  touched_stub_ |= payload[0] == 'Z' || payload[0] == 'H';
  changed_memory_mode_ |= payload[0] == 'Q';
  busy_ = true;
  auto answered = [self = shared_from_this(), payload](absl::StatusOr<std::string> reply) {
    self->busy_ = false;
    if (self->phase_ != Phase::kAttached) return;
    if (reply.ok() && *reply == "OK") self->Note(payload);
    if (reply.ok() && payload == "vCont?" && self->door_->channel().registers() != nullptr) {
      *reply = WithRangeStep(*reply);
    }
    self->Reply(reply.ok() ? *reply : ErrorText(reply.status()));
    self->Process();
  };
  Exchange(payload, std::move(answered));
}

void Client::Exchange(const std::string& payload, StubChannel::ReplyHandler answered) {
  if (foresight_) return foresight_->Exchange(payload, std::move(answered));
  door_->channel().Exchange(payload, std::move(answered));
}

// What the stub was told and keeps.
void Client::Note(const std::string& payload) {
  if (payload[0] == 'H' || payload[0] == 'Q') selected_[payload.substr(0, 2)] = payload;
  if (payload[0] == 'Z' || payload[0] == 'z') NoteBreakpoint(payload);
}

// "Z0,ffffffff81000000,1"
void Client::NoteBreakpoint(std::string_view payload) {
  if (payload.size() < 3) return;
  const std::size_t comma = payload.find(',', 3);
  if (comma == std::string_view::npos) return;
  const auto address = rsp::ParseHexNumber(payload.substr(3, comma - 3));
  if (!address) return;
  std::pair breakpoint(*address, payload[1] + std::string(payload.substr(comma)));
  if (payload[0] == 'Z') breakpoints_.insert(std::move(breakpoint));
  if (payload[0] == 'z') breakpoints_.erase(breakpoint);
}

// Of those that end a range step; watchpoints, of the kinds after these, are told by the stop
// itself.
bool Client::HasBreakpointAt(std::uint64_t address) const {
  const auto found = breakpoints_.lower_bound({address, ""});
  return found != breakpoints_.end() && found->first == address && found->second[0] <= '1';
}

void Client::Run(const std::string& payload) {
  waits_for_stop_ = true;
  interrupted_ = false;
  range_ = door_->channel().registers() != nullptr ? ParseRangeStep(payload) : std::nullopt;
  const std::string packet = range_ ? range_->packet : payload;
  touched_stub_ |= Steps(packet);
  if (!foresight_) return Resume(packet);
  foresight_->BeforeRun([self = shared_from_this(), packet](const std::string& refusal) {
    if (self->phase_ != Phase::kAttached) return;
    if (refusal.empty()) return self->Resume(packet);
    self->TellStop(refusal);
  });
}

void Client::Resume(const std::string& packet) {
  door_->channel().Resume(
      packet, nullptr,
      [self = shared_from_this()](const absl::StatusOr<std::string>& end) { self->Halted(end); });
  if (interrupted_) door_->channel().Halt([](const absl::StatusOr<StopReply>&) {});
}

void Client::Halted(const absl::StatusOr<std::string>& end) {
  if (phase_ != Phase::kAttached) return;
  // QEMU killed: gdb takes this for the end of the program and stays usable.
  if (!end.ok()) return TellStop("X09");
  if (range_) return StepOnOrStop(*end);
  const auto stop = ParseStopReply(*end);
  if (!foresight_ || !stop) return TellStop(*end);
  foresight_->AfterRun(*stop, [self = shared_from_this(), end = *end] { self->TellStop(end); });
}

// A step that ended for any other reason than that it was one step ends the range step, and so
// does a breakpoint that it has reached: gdb reports that one.
void Client::StepOnOrStop(const std::string& stop) {
  const RangeStep range = *std::exchange(range_, std::nullopt);
  const bool plain = stop.substr(0, 3) == "T05" && stop.find("watch") == std::string::npos;
  // gdb would step on from a trap within the range and forget what its user has typed.
  if (interrupted_ && plain) return Halted("T02" + stop.substr(3));
  if (!plain) return Halted(stop);
  door_->channel().Exchange(
      fmt::format("p{:x}", door_->channel().registers()->pc),
      [self = shared_from_this(), range, stop](const absl::StatusOr<std::string>& reply) {
        if (self->phase_ != Phase::kAttached) return;
        const auto pc = reply.ok() ? rsp::ParseRegister(*reply) : std::nullopt;
        if (!pc || !range.Contains(*pc) || self->HasBreakpointAt(*pc)) return self->Halted(stop);
        if (self->interrupted_) return self->Halted("T02" + stop.substr(3));
        self->range_ = range;
        self->Resume(range.packet);
      });
}

// The end of a run, as gdb hears of it.
void Client::TellStop(std::string packet) {
  waits_for_stop_ = false;
  if (phase_ != Phase::kAttached) return;
  Reply(packet);
  Process();
}

void Client::AnswerMonitor(std::string_view hex_command) {
  const auto command = rsp::HexDecode(hex_command);
  if (!command || door_->policy() == nullptr) return Reply(ErrorText("malformed monitor command"));
  busy_ = true;
  const std::optional<std::string> text = door_->policy()->Monitor(*command);
  waits_for_monitor_ = !text;
  if (text) EndMonitor(*text);
}

void Client::MonitorAnswered(const std::string& text, Guest guest) {
  if (!std::exchange(waits_for_monitor_, false) || phase_ != Phase::kAttached) return;
  if (guest == Guest::kSame) return EndMonitor(text);
  door_->channel().Halt([self = shared_from_this(), text](const absl::StatusOr<StopReply>& stop) {
    if (self->phase_ != Phase::kAttached) return;
    if (!stop.ok()) return self->GuestGone();
    if (!self->foresight_) return self->Restore(text);
    self->foresight_ = self->foresight_->MovedTo(self->door_->shared_channel());
    self->foresight_->Attach(*stop, self->Features(), [self, text] { self->Restore(text); });
  });
}

// What gdb believes the stub to know.
void Client::Restore(std::string text) {
  std::vector<std::string> packets;
  for (const auto& [address, kind] : breakpoints_) {
    packets.push_back(
        fmt::format("Z{},{:x}{}", kind[0], address, std::string_view(kind).substr(1)));
  }
  for (const auto& [start, packet] : selected_) packets.push_back(packet);
  breakpoints_.clear();
  Repeat(std::move(packets), std::move(text));
}

// Last first: who is meant comes before what is set.
void Client::Repeat(std::vector<std::string> packets, std::string text) {
  if (phase_ != Phase::kAttached) return;
  if (packets.empty()) return EndMonitor(text);
  const std::string packet = std::move(packets.back());
  packets.pop_back();
  Exchange(packet, [self = shared_from_this(), packet, packets = std::move(packets),
                    text = std::move(text)](const absl::StatusOr<std::string>& reply) mutable {
    if (reply.ok() && *reply == "OK") {
      self->Note(packet);
    } else {
      text += fmt::format("what gdb had set is not there any more: {}\n", packet);
    }
    self->Repeat(std::move(packets), std::move(text));
  });
}

// Console output in pieces that fit a packet, then OK.
void Client::EndMonitor(std::string_view text) {
  const std::size_t piece = (door_->channel().packet_size() - 8) / 2;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    Reply("O" + rsp::HexEncode(text.substr(at, piece)));
  }
  Reply("OK");
  busy_ = false;
  Process();
}

std::string Client::Features() const {
  std::string answer = "QStartNoAckMode+";
  for (const std::string& feature : door_->channel().features()) {
    for (const std::string_view passed_on : kFeaturesPassedOn) {
      const std::string_view start = std::string_view(feature).substr(0, passed_on.size());
      if (start == passed_on && (feature.size() == passed_on.size() || passed_on.back() == '=')) {
        answer += ";" + feature;
      }
    }
  }
  return answer;
}

// The client hears OK when the guest runs again and the place is free.
void Client::Leave(std::string_view farewell) {
  phase_ = Phase::kLeaving;
  if (foresight_) foresight_->Close();
  auto self = shared_from_this();
  door_->Release(self, [self, farewell] {
    if (self->phase_ != Phase::kLeaving) return;
    if (!farewell.empty()) self->Reply(farewell);
    self->End();
  });
}

// No more is said; the other end closes, or is closed soon.
void Client::End() {
  phase_ = Phase::kLeaving;
  transport_->Finish();
  patience_.expires_after(kFarewellPatience);
  patience_.async_wait([weak = weak_from_this()](asio::error_code error) {
    auto self = weak.lock();
    if (!error && self) self->CutOff();
  });
}

void Client::Vanish() {
  if (std::exchange(phase_, Phase::kGone) == Phase::kGone) return;
  if (foresight_) foresight_->Close();
  patience_.cancel();
  auto self = shared_from_this();
  door_->Remove(self);
  door_->Release(self, [] {});
}

// gdb prints console output while it waits for a stop; otherwise an error is what it will find as
// the answer to what it asks next.
void Client::GiveWay(std::string_view why) {
  if (phase_ == Phase::kAttached) {
    Reply(waits_for_stop_ ? "O" + rsp::HexEncode(fmt::format("{}\n", why))
                          : ErrorText(std::string(why)));
  }
  Leave("");
}

void Client::GuestGone() {
  if (phase_ == Phase::kAttached && !waits_for_monitor_) Leave("");
}

void Client::CutOff() {
  auto self = shared_from_this();
  transport_->Abort();
  Vanish();
}

void Client::Acknowledge(char byte) {
  if (acks_) Send(std::string(1, byte));
}

void Client::Reply(std::string_view payload) {
  last_frame_ = rsp::Encode(payload);
  door_->traffic().to_clients.packets.Add(1);
  Send(last_frame_);
}

void Client::Send(std::string bytes) {
  door_->traffic().to_clients.bytes.Add(bytes.size());
  transport_->Send(std::move(bytes));
}

}  // namespace kdbg::gdb
