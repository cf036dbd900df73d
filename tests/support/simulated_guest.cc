#include "tests/support/simulated_guest.h"

#include <fmt/format.h>

#include "proto/rsp/hex.h"

namespace kdbg {
namespace {

constexpr int kStepsPerRun = 200;
constexpr std::uint64_t kInstruction = 4;
constexpr std::uint64_t kCodeSize = 0x3000;
constexpr char kXml[] =
    "<target><architecture>i386:x86-64</architecture><xi:include href=\"cpu.xml\"/></target>";

std::string LittleEndian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

}  // namespace

bool SimulatedGuest::Mapped(std::uint64_t address) {
  return address >= kUnmappedBelow && (address < kHole || address >= kHole + 0x1000);
}

std::uint8_t SimulatedGuest::Byte(std::uint64_t address) {
  if (address >= kDevice && address < kAfterDevice) {
    return static_cast<std::uint8_t>(++device_reads_);
  }
  if (const auto found = written_.find(address); found != written_.end()) return found->second;
  const std::uint64_t seen_by = address < kUserEnd && !physical_ ? selected_ : physical_ ? 7 : 0;
  return static_cast<std::uint8_t>(((address + (seen_by << 52)) * 0x9e3779b97f4a7c15) >> 56);
}

void SimulatedGuest::Write(std::uint64_t address, std::string_view bytes) {
  for (const char byte : bytes) written_[address++] = static_cast<std::uint8_t>(byte);
}

void SimulatedGuest::WritePointer(std::uint64_t address, std::uint64_t value) {
  Write(address, LittleEndian(value));
}

std::vector<std::string> SimulatedGuest::Answer(const std::string& packet) {
  if (!StartsWith(packet, "qRcmd,")) return {AnswerOne(packet)};
  const std::string printed = Monitor(rsp::HexDecode(packet.substr(6)).value_or(""));
  if (printed.empty()) return {"OK"};
  const std::size_t half = printed.size() / 2;  // QEMU flushes where it likes
  return {"O" + rsp::HexEncode(printed.substr(0, half)), "O" + rsp::HexEncode(printed.substr(half)),
          "OK"};
}

std::string SimulatedGuest::AnswerOne(const std::string& packet) {
  const std::string_view rest = std::string_view(packet).substr(1);
  if (packet == "?") {
    while (!breakpoints_.empty()) Breakpoint("z" + *breakpoints_.begin());
    return fmt::format("T05thread:{:02x};", running_ + 1);
  }
  if (packet == "g") return Registers();
  if (packet == "qC") return fmt::format("QC{:02x}", selected_ + 1);
  if (packet == "qfThreadInfo") {
    listed_ = 1;
    return "m01";
  }
  if (packet == "qsThreadInfo")
    return listed_++ < cpus_.size() ? fmt::format("m{:02x}", listed_) : "l";
  if (packet == "vCont?") return "vCont;c;C;s;S";
  if (packet == "qAttached") return "1";
  if (StartsWith(packet, "qSupported")) {
    return "PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+";
  }
  if (StartsWith(packet, "qXfer:features:read:")) return Description(rest.substr(19));
  if (StartsWith(packet, "qThreadExtraInfo,")) return rsp::HexEncode("CPU#" + packet.substr(17));
  if (StartsWith(packet, "Qqemu.PhyMemMode:")) {
    physical_ = packet.back() == '1';
    return "OK";
  }
  if (packet == "qqemu.PhyMemMode") return physical_ ? "1" : "0";
  if (packet[0] == 'm') return ReadMemory(rest);
  if (packet[0] == 'M') return WriteMemory(rest);
  if (packet[0] == 'H') return SelectThread(rest);
  if (packet[0] == 'T') return rest == "1" || rest == "2" ? "OK" : "E22";
  if (packet[0] == 'Z' || packet[0] == 'z') return Breakpoint(packet);
  if (packet[0] == 'p') {
    const auto number = rsp::ParseHexNumber(rest);
    if (!number || *number > 16) return "E14";
    return rsp::HexEncode(LittleEndian(cpus_[selected_].registers[*number]));
  }
  if (packet[0] == 'P') {
    const std::size_t equals = rest.find('=');
    const auto number = rsp::ParseHexNumber(rest.substr(0, equals));
    const auto value = rsp::ParseRegister(rest.substr(std::min(equals, rest.size() - 1) + 1));
    if (!number || *number > 16 || !value) return "E22";
    cpus_[selected_].registers[*number] = *value;
    return "OK";
  }
  return "";
}

std::string SimulatedGuest::Registers() const {
  std::string text;
  for (const std::uint64_t value : cpus_[selected_].registers) {
    text += rsp::HexEncode(LittleEndian(value));
  }
  return text;
}

std::string SimulatedGuest::ReadMemory(std::string_view arguments) {
  const std::size_t comma = arguments.find(',');
  const auto address = rsp::ParseHexNumber(arguments.substr(0, comma));
  const auto size =
      rsp::ParseHexNumber(arguments.substr(std::min(comma, arguments.size() - 1) + 1));
  if (!address || !size || *size > 2048) return "E22";
  std::string bytes;
  for (std::uint64_t at = *address; at != *address + *size; ++at) {
    if (!Mapped(at)) return "E14";
    bytes.push_back(static_cast<char>(Byte(at)));
  }
  return rsp::HexEncode(bytes);
}

std::string SimulatedGuest::WriteMemory(std::string_view arguments) {
  const std::size_t comma = arguments.find(',');
  const std::size_t colon = arguments.find(':');
  if (comma > colon || colon == std::string_view::npos) return "E22";
  const auto address = rsp::ParseHexNumber(arguments.substr(0, comma));
  const auto bytes = rsp::HexDecode(arguments.substr(colon + 1));
  if (!address || !bytes) return "E22";
  if (!Mapped(*address)) return "E14";
  Write(*address, *bytes);
  return "OK";
}

std::string SimulatedGuest::SelectThread(std::string_view id) {
  if (id.empty()) return "E22";
  const std::string_view number = id.substr(1);
  if (number == "0" || number == "-1") return "OK";
  if (number != "1" && number != "2") return "E22";
  if (id[0] == 'g') selected_ = static_cast<std::size_t>(number[0] - '1');
  return "OK";
}

std::string SimulatedGuest::Breakpoint(const std::string& packet) {
  if (packet.size() < 3) return "E22";
  const std::string key = packet.substr(1);
  const std::size_t comma = packet.find(',', 3);
  const auto address = rsp::ParseHexNumber(std::string_view(packet).substr(3, comma - 3));
  if (!address) return "E22";
  const bool in_memory = breakpoint_kind_ == Breakpoints::kInMemory && packet[1] == '0';
  if (packet[0] == 'z') {
    if (breakpoints_.erase(key) == 0) return "E22";
    if (in_memory) Write(*address, std::string(1, static_cast<char>(under_breakpoints_[*address])));
    return "OK";
  }
  if (in_memory && !Mapped(*address)) return "E14";
  if (breakpoints_.insert(key).second && in_memory) {
    under_breakpoints_[*address] = Byte(*address);
    Write(*address, "\xcc");
  }
  return "OK";
}

std::string SimulatedGuest::Monitor(const std::string& line) {
  const std::size_t space = line.find(' ');
  const std::string command = line.substr(0, space);
  if (command == "cpu") return line == "cpu 0" || line == "cpu 1" ? "" : "invalid CPU index\r\n";
  const auto address =
      rsp::ParseHexNumber(line.size() > space + 3 ? std::string_view(line).substr(space + 3) : "");
  if (!address) return "invalid char\r\n";
  if (command == "gva2gpa") {
    return Mapped(*address) ? fmt::format("gpa: {:#x}\r\n", *address) : "Unmapped\r\n";
  }
  if (command != "gpa2hva") return "unknown command\r\n";
  if (*address >= kDevice && *address < kAfterDevice) {
    return fmt::format("Memory at address {:#x} is not RAM\r\n", *address);
  }
  return fmt::format("Host virtual address for {:#x} (pc.ram) is 0x7f0000000000\r\n", *address);
}

std::string SimulatedGuest::Description(std::string_view arguments) const {
  const std::string text = StartsWith(arguments, "target.xml:")
                               ? kXml
                               : "<feature>" + std::string(5000, 'x') + "</feature>";
  const std::size_t colon = arguments.rfind(':');
  const std::size_t comma = arguments.rfind(',');
  const auto begin = rsp::ParseHexNumber(arguments.substr(colon + 1, comma - colon - 1));
  const auto size = rsp::ParseHexNumber(arguments.substr(comma + 1));
  if (!begin || !size || *begin > text.size()) return "E00";
  return (*begin + *size < text.size() ? "m" : "l") + text.substr(*begin, *size);
}

// Goes round in a stretch of code and counts on its stack and in a variable.
std::string SimulatedGuest::Step() {
  Cpu& cpu = cpus_[running_];
  ++steps_;
  std::uint64_t& pc = cpu.registers[16];
  pc = kCode + (pc - kCode + kInstruction) % kCodeSize;
  cpu.registers[0] = steps_;
  const std::uint64_t counter = cpu.registers[7] + 8 * (steps_ % 16);
  WritePointer(counter, steps_);
  for (const char* kind : {"0", "1"}) {
    if (breakpoints_.contains(fmt::format("{},{:x},1", kind, pc))) {
      return fmt::format("T05thread:{:02x};", running_ + 1);
    }
  }
  if (breakpoints_.contains(fmt::format("2,{:x},8", counter))) {
    return fmt::format("T05thread:{:02x};watch:{:x};", running_ + 1, counter);
  }
  return "";
}

std::string SimulatedGuest::Run(const std::string& packet) {
  const bool step = packet == "s" || StartsWith(packet, "vCont;s");
  if (!step && forever_) return "";
  std::string stop;
  for (int i = 0; i < (step ? 1 : kStepsPerRun) && stop.empty(); ++i) stop = Step();
  if (!step) running_ = steps_ % cpus_.size();
  selected_ = running_;
  return fmt::format("T05thread:{:02x};", running_ + 1) + (stop.size() > 13 ? stop.substr(13) : "");
}

}  // namespace kdbg
