#include "client/accel/accelerator.h"

#include <algorithm>
#include <utility>

namespace kdbg::client {
namespace {

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

bool StartsWithAny(std::string_view text, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](std::string_view start) { return StartsWith(text, start); });
}

// Answered by the next stop, not at once.
bool LetsRun(std::string_view packet) {
  return StartsWithAny(packet, {"vCont;", "c", "C", "s", "S", "bc", "bs"});
}

// Breakpoints in the guest make no difference to these.
bool OnlyAsks(std::string_view packet) {
  return StartsWithAny(packet, {"m", "g", "p", "q", "T", "H"}) && !StartsWith(packet, "qRcmd");
}

bool IsSoftwareBreakpoint(std::string_view packet) { return StartsWithAny(packet, {"Z0,", "z0,"}); }

}  // namespace

Accelerator::Output Accelerator::FromGdb(std::string_view bytes) {
  Output output;
  while (auto event = gdb_parser_.Next(bytes)) held_.push_back(*std::move(event));
  Drain(output);
  return output;
}

Accelerator::Output Accelerator::FromServer(const v1::GdbServerFrame& frame) {
  Output output;
  if (frame.has_ahead()) known_.Take(frame.ahead());
  if (frame.has_invalidate()) known_.Take(frame.invalidate());
  std::string_view bytes = frame.rsp();
  while (auto event = server_parser_.Next(bytes)) {
    if (event->kind == rsp::Event::Kind::kPacket) HandleAnswer(event->payload, output);
  }
  Drain(output);
  return output;
}

// gdb asks one thing at a time; who does not still has its answers in order.
void Accelerator::Drain(Output& output) {
  while (!held_.empty() && (awaited_.empty() || awaited_.back() == Awaited::kStop)) {
    rsp::Event event = std::move(held_.front());
    held_.pop_front();
    Handle(std::move(event), output);
  }
}

void Accelerator::Handle(rsp::Event event, Output& output) {
  using Kind = rsp::Event::Kind;
  switch (event.kind) {
    case Kind::kAck:
    case Kind::kTruncated:
      return;
    case Kind::kNack:
      if (acks_) output.to_gdb += last_frame_;
      return;
    case Kind::kInterrupt:
      output.to_server += rsp::kInterruptByte;
      return;
    case Kind::kMalformed:
      return Acknowledge(rsp::kNackByte, output);
    case Kind::kOversized:
      Acknowledge(rsp::kAckByte, output);
      return Reply("E.the packet is too long", output);
    case Kind::kPacket:
      ++counters_.packets;
      Acknowledge(rsp::kAckByte, output);
      return HandlePacket(event.payload, output);
  }
}

void Accelerator::HandlePacket(const std::string& packet, Output& output) {
  if (!awaited_.empty()) {
    output.to_server += rsp::Encode(packet);
    return;
  }
  if (packet == "QStartNoAckMode") {
    Reply("OK", output);
    acks_ = false;
    return;
  }
  if (!AnswerHere(packet, output)) Forward(packet, output);
}

bool Accelerator::AnswerHere(const std::string& packet, Output& output) {
  if (IsSoftwareBreakpoint(packet)) return AnswerBreakpoint(packet, output);
  const auto answer = known_.Answer(packet);
  if (answer) Reply(*answer, output);
  return answer.has_value();
}

// gdb takes every breakpoint out at a stop and puts it in again before the next run. In between
// they are not in the guest anyway: the server hears only of those that stay out.
bool Accelerator::AnswerBreakpoint(const std::string& packet, Output& output) {
  const std::string breakpoint = packet.substr(1);
  const bool removed = removed_.contains(breakpoint);
  const auto answer = known_.Answer(packet);
  if (answer != "OK" || (packet[0] == 'z' && removed)) return false;
  if (packet[0] == 'z') {
    removed_.insert(breakpoint);
  } else {
    removed_.erase(breakpoint);
  }
  Reply("OK", output);
  return true;
}

void Accelerator::Forward(const std::string& packet, Output& output) {
  if (!OnlyAsks(packet)) SendRemovals(output);
  // The stub forgets its breakpoints when it is asked this: the answer is good once, at the start.
  if (StartsWithAny(packet, {"Z", "z"})) known_.Forget("?");
  ++counters_.round_trips;
  output.to_server += rsp::Encode(packet);
  awaited_.push_back(LetsRun(packet) ? Awaited::kStop : Awaited::kAnswer);
}

void Accelerator::SendRemovals(Output& output) {
  for (const std::string& breakpoint : std::exchange(removed_, {})) {
    known_.Forget("z" + breakpoint);
    known_.Forget("Z" + breakpoint);
    output.to_server += rsp::Encode("z" + breakpoint);
    awaited_.push_back(Awaited::kNothing);
  }
}

void Accelerator::HandleAnswer(const std::string& packet, Output& output) {
  // Console output comes before the answer.
  const bool final = !StartsWith(packet, "O") || packet == "OK";
  if (final && !awaited_.empty()) {
    const Awaited awaited = awaited_.front();
    awaited_.pop_front();
    if (awaited == Awaited::kNothing) return;
  }
  Reply(packet, output);
}

void Accelerator::Reply(std::string_view packet, Output& output) {
  last_frame_ = rsp::Encode(packet);
  output.to_gdb += last_frame_;
}

void Accelerator::Acknowledge(char byte, Output& output) const {
  if (acks_) output.to_gdb += byte;
}

}  // namespace kdbg::client
