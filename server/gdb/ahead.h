// What a client is told before it asks (Foresight).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kdbg::gdb {

// Holds until one with another epoch is told; an empty one only ends the epoch before.
struct Ahead {
  struct Answer {
    std::string packet;
    std::string reply;
    bool lasting = false;  // beyond the epoch, for as long as the client is attached
  };
  struct Memory {
    std::uint64_t address = 0;
    std::string bytes;  // a page; empty: nothing is mapped there
  };
  std::int64_t epoch = 0;
  std::uint64_t thread = 0;  // which one sees it like this
  std::vector<Answer> answers;
  std::vector<Memory> memory;

  bool empty() const { return answers.empty() && memory.empty(); }
};

}  // namespace kdbg::gdb
