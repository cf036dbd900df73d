// Looks for signs of life and death in what a guest prints. Pure; not thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace kdbg::guest {

inline constexpr std::string_view kPanicMarker = "Kernel panic - not syncing";

class ConsoleScanner {
 public:
  // `ready_marker` empty: none is awaited.
  explicit ConsoleScanner(std::string_view ready_marker) : ready_marker_(ready_marker) {}

  // The next bytes, cut anywhere.
  void Feed(std::string_view bytes);

  bool ready() const { return ready_; }
  bool panicked() const { return panicked_; }

 private:
  const std::string ready_marker_;
  std::string carried_;  // the end of the last bytes: a marker may have begun in it
  bool ready_ = false;
  bool panicked_ = false;
};

}  // namespace kdbg::guest
