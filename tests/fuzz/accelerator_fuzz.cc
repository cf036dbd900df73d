// The accelerator between two liars: bytes from gdb and frames from a server, in any order:
// nothing malformed comes out.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "client/accel/accelerator.h"
#include "proto/rsp/packet.h"

namespace {

using kdbg::client::Accelerator;
using kdbg::rsp::Event;

void Require(bool holds) {
  if (!holds) std::abort();
}

// What goes out is well-formed, whatever came in.
void Check(std::string_view bytes) {
  kdbg::rsp::PacketParser parser(1 << 20);
  while (auto event = parser.Next(bytes)) {
    Require(event->kind != Event::Kind::kMalformed && event->kind != Event::Kind::kTruncated &&
            event->kind != Event::Kind::kOversized);
  }
  Require(parser.noise_bytes() == 0);
}

}  // namespace

// Pieces of the form: who, length, that many bytes. 0: from gdb as they are; 1: from gdb as a
// packet; 2: bytes from the server; 3: a packet from it; 4: a frame; 5: memory told of.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  Accelerator accelerator;
  while (rest.size() >= 2) {
    const int who = static_cast<unsigned char>(rest[0]) % 6;
    const std::string piece(rest.substr(2, static_cast<unsigned char>(rest[1])));
    rest.remove_prefix(2 + piece.size());
    kdbg::v1::GdbServerFrame frame;
    Accelerator::Output output;
    if (who <= 1) {
      output = accelerator.FromGdb(who == 0 ? piece : kdbg::rsp::Encode(piece));
    } else {
      if (who == 2) frame.set_rsp(piece);
      if (who == 3) frame.set_rsp(kdbg::rsp::Encode(piece));
      if (who == 4 && !frame.ParseFromString(piece)) continue;
      if (who == 5) {
        frame.mutable_ahead()->set_thread(1);
        frame.mutable_ahead()->add_memory()->set_address(0x1000);
        frame.mutable_ahead()->mutable_memory(0)->set_data(
            std::string(4096, piece.empty() ? 'x' : piece[0]));
        auto* answer = frame.mutable_ahead()->add_answers();
        answer->set_packet(piece);
        answer->set_reply("OK");
      }
      output = accelerator.FromServer(frame);
    }
    Check(output.to_gdb);
    Check(output.to_server);
  }
  return 0;
}
