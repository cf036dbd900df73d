// The gateway as a client meets it: arbitrary bytes in arbitrary pieces, near or far, to a guest
// behind a stub. Only packets of the list reach the stub, and whoever comes next finds it clean.
#include <spdlog/spdlog.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/rsp/hex.h"
#include "proto/rsp/packet.h"
#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "tests/support/fake_stub.h"
#include "tests/support/simulated_guest.h"
#include "tests/support/temp_socket.h"

namespace {

using namespace kdbg;

constexpr int kInputsPerGuest = 500;

void Require(bool holds) {
  if (!holds) std::abort();
}

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Looks at every packet that got through.
class WatchedGuest final : public StubGuest {
 public:
  std::vector<std::string> Answer(const std::string& packet) override {
    constexpr std::array kNever = {
        "k",           "vKill",           "R", "r", "!", "vRun", "vAttach", "vFile", "F", "X", "D",
        "Qqemu.sstep", "QStartNoAckMode", "i", "t"};
    for (const char* never : kNever) Require(!StartsWith(packet, never));
    if (StartsWith(packet, "qRcmd,")) {
      const std::string line = rsp::HexDecode(packet.substr(6)).value_or("");
      Require(StartsWith(line, "cpu ") || StartsWith(line, "gva2gpa 0x") ||
              StartsWith(line, "gpa2hva 0x"));
      Require(line.find_first_not_of("0123456789abcdef", line.find(' ') + 3) == std::string::npos);
    }
    return guest_.Answer(packet);
  }
  std::string Run(const std::string& packet) override { return guest_.Run(packet); }

 private:
  SimulatedGuest guest_;
};

class OpenPolicy final : public gdb::ClientPolicy {
 public:
  absl::Status Admit(const gdb::Attachment&) override { return absl::OkStatus(); }
  void Attached(const gdb::Attachment&) override {}
  void Detached(const gdb::Attachment&) override {}
  std::optional<std::string> Monitor(std::string_view command) override {
    return std::string(command);
  }
};

struct Place {
  Place() {
    stub.SetGuest(&guest);
    link = *gdb::StubLink::Connect(io_thread, socket.path(), gdb::CpuState::kHalted);
    door = *gateway.Open(*gdb::ReservedPort::Bind("127.0.0.1", 0), link, policy);
  }

  WatchedGuest guest;
  TempSocket socket;
  FakeStub stub{socket.path()};
  gdb::IoThread io_thread;
  gdb::Gateway gateway{io_thread};
  OpenPolicy policy;
  std::shared_ptr<gdb::StubLink> link;
  std::unique_ptr<gdb::Door> door;
  int inputs = 0;
};

}  // namespace

// The first byte says how far the client is; pieces of the form length, that many bytes follow, odd
// lengths as packets, even ones as they are.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<Place> place;
  spdlog::set_level(spdlog::level::off);
  if (place == nullptr || ++place->inputs > kInputsPerGuest) {
    place.reset();
    place = std::make_unique<Place>();
  }
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  if (rest.empty()) return 0;
  gdb::Door::StreamEvents events{[](const std::string&) {}, [] {}};
  if (rest[0] % 2 != 0) events.ahead_to_client = [](const gdb::Ahead&) {};
  rest.remove_prefix(1);
  {
    auto stream = place->door->AttachStream({"fuzzer"}, events);
    Require(stream.ok());
    while (!rest.empty()) {
      const auto length = static_cast<unsigned char>(rest[0]);
      const std::string piece(rest.substr(1, length));
      rest.remove_prefix(1 + piece.size());
      (*stream)->Send(length % 2 != 0 ? rsp::Encode(piece) : piece);
    }
  }
  // The next one: a breakpoint of the last would be known to the stub.
  auto next = place->door->AttachStream({"next"}, {[](const std::string&) {}, [] {}});
  Require(next.ok());
  Require(place->stub.stray_bytes() == 0 && !place->stub.ended());
  return 0;
}
