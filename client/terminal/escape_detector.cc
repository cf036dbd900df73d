#include "client/terminal/escape_detector.h"

namespace kdbg::client {

EscapeDetector::Result EscapeDetector::Feed(std::string_view typed) {
  Result result;
  for (const char c : typed) {
    if (state_ == State::kLineStart && c == '~') {
      state_ = State::kTilde;
      continue;
    }
    if (state_ == State::kTilde) {
      if (c == '.') {
        result.leave = true;
        return result;
      }
      result.forward += '~';
      if (c == '~') {
        state_ = State::kInLine;
        continue;
      }
    }
    result.forward += c;
    state_ = c == '\r' || c == '\n' ? State::kLineStart : State::kInLine;
  }
  return result;
}

}  // namespace kdbg::client
