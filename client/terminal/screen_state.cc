#include "client/terminal/screen_state.h"

namespace kdbg::client {
namespace {

constexpr char kEscape = '\x1b';
// Longer ones are not those looked for.
constexpr std::size_t kLongest = 16;

}  // namespace

void ScreenState::Feed(std::string_view written) {
  for (const char c : written) {
    if (c == kEscape) {
      state_ = State::kEscape;
      drawn_on_ = true;
    } else if (state_ == State::kEscape) {
      state_ = c == '[' ? State::kSequence : State::kText;
      sequence_.clear();
    } else if (state_ == State::kSequence) {
      if (sequence_.size() < kLongest) sequence_ += c;
      if (c < '@' || c > '~') continue;  // parameters; the byte that ends them is of that range
      state_ = State::kText;
      for (const std::string_view mode : {"?1049", "?1047", "?47"}) {
        if (sequence_.substr(0, sequence_.size() - 1) != mode) continue;
        if (c == 'h' || c == 'l') alternate_ = c == 'h';
      }
    }
  }
}

}  // namespace kdbg::client
