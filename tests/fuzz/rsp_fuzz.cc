// The packet parser on arbitrary bytes: bounded, independent of how they are cut, and true to
// Encode.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "proto/rsp/packet.h"

namespace {

using kdbg::rsp::Event;
using kdbg::rsp::PacketParser;

constexpr std::size_t kLimit = 256;

void Feed(PacketParser& parser, std::string_view bytes, std::vector<Event>& events) {
  while (auto event = parser.Next(bytes)) events.push_back(*std::move(event));
}

void Require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  PacketParser parser(kLimit);
  std::vector<Event> events;
  Feed(parser, bytes, events);

  PacketParser bytewise(kLimit);
  std::vector<Event> again;
  for (std::size_t i = 0; i < bytes.size(); ++i) Feed(bytewise, bytes.substr(i, 1), again);
  Require(events.size() == again.size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    Require(events[i].kind == again[i].kind && events[i].payload == again[i].payload);
    Require(events[i].payload.size() <= kLimit);
    if (events[i].kind != Event::Kind::kPacket) continue;
    PacketParser fresh(kLimit);
    std::vector<Event> copy;
    Feed(fresh, kdbg::rsp::Encode(events[i].payload), copy);
    Require(copy.size() == 1 && copy[0].kind == Event::Kind::kPacket &&
            copy[0].payload == events[i].payload);
  }
  return 0;
}
