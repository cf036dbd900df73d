// Follows what a program elsewhere writes to the user's terminal, to know what has to be taken back
// when that program does not get to it. Pure.
#pragma once

#include <string>
#include <string_view>

namespace kdbg::client {

class ScreenState {
 public:
  // A piece of what was written; sequences may be cut anywhere.
  void Feed(std::string_view written);

  // ESC [ ? N h and l with N of 1049, 1047 or 47.
  bool in_alternate_screen() const { return alternate_; }
  // Whether there was any escape sequence: colours, a hidden cursor, modes of keys.
  bool drawn_on() const { return drawn_on_; }

 private:
  enum class State { kText, kEscape, kSequence };
  State state_ = State::kText;
  std::string sequence_;
  bool alternate_ = false;
  bool drawn_on_ = false;
};

}  // namespace kdbg::client
