// The GDB Remote Serial Protocol's framing: $payload#checksum with escapes, run-length encoding and
// acknowledgements.
//
// Pure: bytes in, events out; no I/O, no threads. Input is hostile: a parser's memory is bounded by
// the payload size it was made for, and nothing it is fed can do more than make it report
// kMalformed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kdbg::rsp {

inline constexpr char kInterruptByte = '\x03';  // Ctrl-C, outside any packet
inline constexpr char kAckByte = '+';
inline constexpr char kNackByte = '-';

struct Event {
  enum class Kind {
    kPacket,     // payload holds it, unescaped and expanded
    kAck,        // '+'
    kNack,       // '-': the last packet sent is wanted again
    kInterrupt,  // 0x03
    kMalformed,  // a whole frame with a wrong checksum, a dangling escape or a bad run: to be NAKed
    kTruncated,  // a '$' inside a frame: the sender began anew; nothing to answer
    kOversized,  // a whole frame longer than the limit; asking for it again would not help
  };
  Kind kind;
  std::string payload;
};

class PacketParser {
 public:
  // Frames whose payload, unescaped and expanded, is over `maximum_payload` bytes are kOversized.
  explicit PacketParser(std::size_t maximum_payload) : maximum_payload_(maximum_payload) {}

  // Takes bytes off the front of `input` up to the end of the next event; nullopt when `input` is
  // used up. Bytes between frames that mean nothing are skipped and counted.
  std::optional<Event> Next(std::string_view& input);

  std::uint64_t noise_bytes() const { return noise_bytes_; }

 private:
  enum class State { kIdle, kPayload, kEscape, kRunLength, kChecksumHigh, kChecksumLow };

  void TakePlain(std::string_view& input);
  std::optional<Event> Step(char byte);
  void Begin();
  void Append(char byte, std::size_t count = 1);
  Event Finish();

  const std::size_t maximum_payload_;
  State state_ = State::kIdle;
  std::string payload_;
  std::uint8_t sum_ = 0;
  std::optional<int> expected_sum_;
  bool malformed_ = false;
  bool oversized_ = false;
  std::uint64_t noise_bytes_ = 0;
};

// The frame for `payload`: escaped, with its checksum, without run-length encoding.
std::string Encode(std::string_view payload);

}  // namespace kdbg::rsp
