// What is at an address of a halted guest. Reading RAM that nobody asked for has no effect, and
// reading it again gives the same; so it is with addresses that mean nothing. QEMU's own monitor is
// asked, through the stub: it knows the page tables and the memory map of every machine as they are
// now.
//
// For the I/O thread.
#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "server/gdb/stub_channel.h"

namespace kdbg::gdb {

inline constexpr std::uint64_t kPageBytes = 4096;
inline std::uint64_t PageOf(std::uint64_t address) { return address & ~(kPageBytes - 1); }

class RamCheck {
 public:
  enum class Kind { kRam, kUnmapped, kOther };  // kOther: a device, or who knows

  explicit RamCheck(std::shared_ptr<StubChannel> channel) : channel_(std::move(channel)) {}

  // As the CPU of `thread` (counted from 1) sees the page. Any doubt is kOther.
  asio::awaitable<Kind> Ask(std::uint64_t thread, std::uint64_t page);
  // The guest has run, or page tables may have been written.
  void Forget() { known_.clear(); }

 private:
  asio::awaitable<Kind> Find(std::uint64_t page);

  const std::shared_ptr<StubChannel> channel_;
  std::map<std::uint64_t, Kind> known_;  // of thread_
  std::optional<std::uint64_t> thread_;  // whose eyes the monitor has
};

// What QEMU's `gva2gpa` says: "gpa: 0x1ad9b7b" or "Unmapped".
std::optional<std::uint64_t> ParsePhysicalAddress(std::string_view answer);
bool SaysUnmapped(std::string_view answer);
// What QEMU's `gpa2hva` says: "Host virtual address for 0x0 (pc.ram) is 0x7f...".
bool SaysRam(std::string_view answer);

}  // namespace kdbg::gdb
