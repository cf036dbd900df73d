#include "server/gdb/stop_reply.h"

#include "proto/rsp/hex.h"

namespace kdbg::gdb {

std::optional<StopReply> ParseStopReply(std::string_view packet) {
  if (packet.size() < 3) return std::nullopt;
  const std::string_view letters = "TSWX";
  if (letters.find(packet[0]) == std::string_view::npos) return std::nullopt;
  const auto number = rsp::ParseHexNumber(packet.substr(1, 2));
  if (!number) return std::nullopt;

  StopReply reply;
  reply.packet = packet;
  reply.signal = static_cast<int>(*number);
  if (packet[0] == 'W' || packet[0] == 'X') reply.kind = StopReply::Kind::kExited;
  if (packet[0] == 'T') {
    constexpr std::string_view kThread = "thread:";
    const std::string_view pairs = packet.substr(3);
    const std::size_t at = pairs.find(kThread);
    if (at != std::string_view::npos) {
      const std::string_view rest = pairs.substr(at + kThread.size());
      reply.thread = rest.substr(0, rest.find(';'));
    }
  }
  return reply;
}

}  // namespace kdbg::gdb
