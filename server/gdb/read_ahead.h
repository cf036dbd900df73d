// What a debugger that reads here will read next. Pure.
//
// Two habits are known, both of which cost one round trip a step from afar. Buffers are read piece
// by piece, several at a time (`lx-dmesg`): the pages after each follow, more each time. Lists are
// walked (`lx-ps`): when the last two jumps went along one chain of pointers, each to the place of
// the next, the rest of the chain is walked ahead of the debugger.
//
// Guesses name pages that might be read; whether they may be is the caller's to find out. A wrong
// guess costs a page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kdbg::gdb {

class ReadAhead {
 public:
  // The guest has changed.
  void Forget();

  // The debugger has read `size` bytes at `address`, which were not known to it.
  void Missed(std::uint64_t address, std::size_t size);
  // The next page to read for that, not known yet; nullopt when that is all. Answer it with Read
  // or Refused before asking again.
  std::optional<std::uint64_t> Next();
  void Read(std::uint64_t page, std::string bytes);
  void Refused(std::uint64_t page);
  bool Has(std::uint64_t page) const { return pages_.contains(page); }

 private:
  struct Sequence {
    std::uint64_t end = 0;  // the first address after what was foreseen
    std::size_t pages = 0;
  };
  struct Walk {
    std::uint64_t first = 0;  // a pointer of the chain, to know a ring
    std::uint64_t at = 0;     // the one to follow next
    int nodes = 0;
  };

  void PlanSequence(std::uint64_t address, std::size_t size);
  void PlanWalk(std::uint64_t address);
  void Step();
  void Want(std::uint64_t page);
  std::optional<std::uint64_t> Pointer(std::uint64_t address) const;
  std::optional<std::uint64_t> Follow(std::uint64_t at, std::uint64_t address) const;
  void FindLinks(std::uint64_t from, std::uint64_t address);

  std::map<std::uint64_t, std::string> pages_;
  std::set<std::uint64_t> refused_;
  std::deque<std::uint64_t> wanted_;
  std::deque<std::uint64_t> misses_;  // newest last
  std::deque<Sequence> sequences_;    // newest last
  // Pointers near the last miss that a chain led to from near the one before.
  std::vector<std::uint64_t> links_;
  std::optional<Walk> walk_;
};

}  // namespace kdbg::gdb
