#include "server/gdb/ram_check.h"

#include <fmt/format.h>

#include "proto/rsp/hex.h"
#include "server/gdb/ask.h"

namespace kdbg::gdb {

asio::awaitable<RamCheck::Kind> RamCheck::Ask(std::uint64_t thread, std::uint64_t page) {
  if (thread_ != thread) {
    thread_.reset();
    known_.clear();
    if (thread == 0) co_return Kind::kOther;
    const Answered selected = co_await AskMonitor(channel_, fmt::format("cpu {}", thread - 1));
    if (!selected.ok() || !selected->empty()) co_return Kind::kOther;
    thread_ = thread;
  }
  if (const auto found = known_.find(page); found != known_.end()) co_return found->second;
  const Kind kind = co_await Find(page);
  known_[page] = kind;
  co_return kind;
}

// Both ends of the page: what is mapped over a part of it begins or ends a region of its own.
asio::awaitable<RamCheck::Kind> RamCheck::Find(std::uint64_t page) {
  const Answered physical = co_await AskMonitor(channel_, fmt::format("gva2gpa {:#x}", page));
  if (physical.ok() && SaysUnmapped(*physical)) co_return Kind::kUnmapped;
  const auto address = physical.ok() ? ParsePhysicalAddress(*physical) : std::nullopt;
  if (!address) co_return Kind::kOther;
  for (const std::uint64_t at : {*address, *address + kPageBytes - 1}) {
    const Answered host = co_await AskMonitor(channel_, fmt::format("gpa2hva {:#x}", at));
    if (!host.ok() || !SaysRam(*host)) co_return Kind::kOther;
  }
  co_return Kind::kRam;
}

std::optional<std::uint64_t> ParsePhysicalAddress(std::string_view answer) {
  constexpr std::string_view kStart = "gpa: ";
  if (answer.substr(0, kStart.size()) != kStart) return std::nullopt;
  std::string_view number = answer.substr(kStart.size());
  number = number.substr(0, number.find_first_of("\r\n"));
  if (number.substr(0, 2) == "0x") number.remove_prefix(2);
  return rsp::ParseHexNumber(number);
}

bool SaysUnmapped(std::string_view answer) { return answer == "Unmapped\r\n"; }

bool SaysRam(std::string_view answer) {
  constexpr std::string_view kStart = "Host virtual address for ";
  return answer.substr(0, kStart.size()) == kStart;
}

}  // namespace kdbg::gdb
