// Finds `~.` at the start of a line in what a user types, as ssh does, and takes it out of the
// stream. Pure.
#pragma once

#include <string>
#include <string_view>

namespace kdbg::client {

class EscapeDetector {
 public:
  struct Result {
    std::string forward;  // to the other side
    bool leave = false;   // `~.` came; what follows it is dropped
  };
  // `~~` at the start of a line forwards one `~`; any other key after `~` forwards both.
  Result Feed(std::string_view typed);

 private:
  enum class State { kLineStart, kTilde, kInLine };
  State state_ = State::kLineStart;
};

}  // namespace kdbg::client
