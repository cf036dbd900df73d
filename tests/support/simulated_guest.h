// A guest with two CPUs, memory that changes as it runs, a device whose every read is different,
// and the monitor of its QEMU. All that it does is determined by the packets it gets, so two of
// them that are told the same answer the same.
//
// Called on the stub's thread; what tests look at is for while no packet is under way.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/fake_stub.h"

namespace kdbg {

class SimulatedGuest final : public StubGuest {
 public:
  static constexpr std::uint64_t kUnmappedBelow = 0x1000;
  static constexpr std::uint64_t kDevice = 0xffffc90000000000;     // one page
  static constexpr std::uint64_t kAfterDevice = kDevice + 0x1000;  // RAM
  static constexpr std::uint64_t kHole = 0xffff8880ffff0000;       // not mapped, one page
  static constexpr std::uint64_t kCode = 0xffffffff81000000;
  static constexpr std::uint64_t kStack = 0xffff888000183e00;
  static constexpr std::uint64_t kUserEnd = 0x800000000000;  // below, each CPU has its own

  enum class Breakpoints { kInvisible, kInMemory };  // as with TCG, as with KVM
  explicit SimulatedGuest(Breakpoints breakpoints = Breakpoints::kInvisible)
      : breakpoint_kind_(breakpoints) {}

  std::vector<std::string> Answer(const std::string& packet) override;
  std::string Run(const std::string& packet) override;

  void Write(std::uint64_t address, std::string_view bytes);
  void WritePointer(std::uint64_t address, std::uint64_t value);
  void RunForever(bool forever) { forever_ = forever; }
  std::uint64_t device_reads() const { return device_reads_; }
  std::uint64_t steps() const { return steps_; }

 private:
  struct Cpu {
    std::array<std::uint64_t, 17> registers;
  };

  std::string AnswerOne(const std::string& packet);
  std::string ReadMemory(std::string_view arguments);
  std::string WriteMemory(std::string_view arguments);
  std::string SelectThread(std::string_view id);
  std::string Breakpoint(const std::string& packet);
  std::string Monitor(const std::string& line);
  std::string Description(std::string_view arguments) const;
  std::string Registers() const;
  std::string Step();
  std::uint8_t Byte(std::uint64_t address);
  static bool Mapped(std::uint64_t address);

  const Breakpoints breakpoint_kind_;
  std::map<std::uint64_t, std::uint8_t> written_;
  std::map<std::uint64_t, std::uint8_t> under_breakpoints_;
  std::set<std::string> breakpoints_;
  std::array<Cpu, 2> cpus_{
      Cpu{{0, 1, 2, 3, 4, 5, 6, kStack, 8, 9, 10, 11, 12, 13, 14, 15, kCode}},
      Cpu{{1, 1, 1, 1, 1, 1, 1, kStack - 0x4000, 1, 1, 1, 1, 1, 1, 1, 1, kCode + 0x5000}}};
  std::size_t selected_ = 0;
  std::size_t running_ = 0;  // the CPU that steps
  std::size_t listed_ = 0;
  bool physical_ = false;
  std::atomic<bool> forever_ = false;
  std::uint64_t device_reads_ = 0;
  std::uint64_t steps_ = 0;
};

}  // namespace kdbg
