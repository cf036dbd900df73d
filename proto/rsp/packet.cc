#include "proto/rsp/packet.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "proto/rsp/hex.h"

namespace kdbg::rsp {
namespace {

// A run-length byte says how often the byte before it is repeated, offset so that it is printable.
constexpr int kRunLengthOffset = 29;
constexpr int kFirstRunLength = ' ';
constexpr int kLastRunLength = '~';
constexpr char kEscapeMask = 0x20;

bool NeedsEscape(char byte) { return byte == '$' || byte == '#' || byte == '}' || byte == '*'; }

std::size_t PlainPrefix(std::string_view bytes) {
  return static_cast<std::size_t>(std::find_if(bytes.begin(), bytes.end(), NeedsEscape) -
                                  bytes.begin());
}

std::uint8_t Sum(std::string_view bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::uint8_t{0},
                         [](std::uint8_t sum, char byte) {
                           return static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(byte));
                         });
}

}  // namespace

std::optional<Event> PacketParser::Next(std::string_view& input) {
  while (!input.empty()) {
    TakePlain(input);
    if (input.empty()) break;
    const char byte = input.front();
    input.remove_prefix(1);
    if (auto event = Step(byte)) return event;
  }
  return std::nullopt;
}

// What stands for itself, all at once: nearly all of every packet.
void PacketParser::TakePlain(std::string_view& input) {
  if (state_ != State::kPayload) return;
  const std::size_t size = PlainPrefix(input);
  const std::string_view plain = input.substr(0, size);
  input.remove_prefix(size);
  sum_ = static_cast<std::uint8_t>(sum_ + Sum(plain));
  const std::size_t room = maximum_payload_ - std::min(maximum_payload_, payload_.size());
  oversized_ |= size > room;
  payload_ += plain.substr(0, room);
}

std::optional<Event> PacketParser::Step(char byte) {
  // Nowhere inside a frame does a bare '$' belong: whoever sends one has given up the frame before.
  if (byte == '$') {
    const bool truncated = state_ != State::kIdle;
    Begin();
    if (truncated) return Event{Event::Kind::kTruncated, {}};
    return std::nullopt;
  }
  switch (state_) {
    case State::kIdle:
      if (byte == kAckByte) return Event{Event::Kind::kAck, {}};
      if (byte == kNackByte) return Event{Event::Kind::kNack, {}};
      if (byte == kInterruptByte) return Event{Event::Kind::kInterrupt, {}};
      ++noise_bytes_;
      return std::nullopt;
    case State::kChecksumHigh:
      expected_sum_ = HexDigit(byte);
      state_ = State::kChecksumLow;
      return std::nullopt;
    case State::kChecksumLow: {
      const std::optional<int> low = HexDigit(byte);
      expected_sum_ =
          expected_sum_ && low ? std::optional(*expected_sum_ * 16 + *low) : std::nullopt;
      return Finish();
    }
    default:
      break;
  }
  if (byte == '#') {
    if (state_ != State::kPayload) malformed_ = true;  // an escape or a run without its second byte
    state_ = State::kChecksumHigh;
    return std::nullopt;
  }
  sum_ = static_cast<std::uint8_t>(sum_ + static_cast<std::uint8_t>(byte));
  switch (std::exchange(state_, State::kPayload)) {
    case State::kEscape:
      Append(static_cast<char>(byte ^ kEscapeMask));
      break;
    case State::kRunLength:
      if (byte < kFirstRunLength || byte > kLastRunLength || payload_.empty()) {
        malformed_ = true;
      } else {
        Append(payload_.back(), static_cast<std::size_t>(byte - kRunLengthOffset));
      }
      break;
    default:
      if (byte == '}') {
        state_ = State::kEscape;
      } else if (byte == '*') {
        state_ = State::kRunLength;
      } else {
        Append(byte);
      }
  }
  return std::nullopt;
}

void PacketParser::Begin() {
  state_ = State::kPayload;
  payload_.clear();
  sum_ = 0;
  malformed_ = false;
  oversized_ = false;
}

// What goes beyond the limit is only counted on, so the checksum still tells where the frame ends.
void PacketParser::Append(char byte, std::size_t count) {
  if (payload_.size() + count > maximum_payload_) {
    oversized_ = true;
    return;
  }
  payload_.append(count, byte);
}

Event PacketParser::Finish() {
  state_ = State::kIdle;
  if (malformed_ || expected_sum_ != sum_) return Event{Event::Kind::kMalformed, {}};
  if (oversized_) return Event{Event::Kind::kOversized, {}};
  return Event{Event::Kind::kPacket, std::exchange(payload_, {})};
}

std::string Encode(std::string_view payload) {
  std::string frame;
  frame.reserve(payload.size() + 4);
  frame.push_back('$');
  while (!payload.empty()) {
    const std::size_t plain = PlainPrefix(payload);
    frame += payload.substr(0, plain);
    payload.remove_prefix(plain);
    if (payload.empty()) break;
    frame.push_back('}');
    frame.push_back(static_cast<char>(payload.front() ^ kEscapeMask));
    payload.remove_prefix(1);
  }
  const char sum_byte = static_cast<char>(Sum(std::string_view(frame).substr(1)));
  frame.push_back('#');
  frame += HexEncode(std::string_view(&sum_byte, 1));
  return frame;
}

}  // namespace kdbg::rsp
