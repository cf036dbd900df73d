// The user's terminal in raw mode, put back however the program ends: at scope end, on a second
// signal, on a crash.
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/terminal/screen_state.h"

namespace kdbg::client {

class RawTerminal {
 public:
  // FAILED_PRECONDITION when `fd` is no terminal. One at a time.
  static absl::StatusOr<RawTerminal> Enter(int fd);

  // Tell of all that a program elsewhere writes to standard output: should it not get to it itself,
  // leaving the alternate screen, the cursor, colours and modes of keys are part of putting back.
  void Watch(std::string_view written);

  RawTerminal(RawTerminal&& other) noexcept;
  RawTerminal& operator=(RawTerminal&&) = delete;
  ~RawTerminal();

 private:
  RawTerminal() = default;
  bool active_ = true;
  ScreenState screen_;
};

// What the destructor does; async-signal-safe, nothing when no terminal is raw.
void RestoreTerminal();

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};
// nullopt when `fd` is no terminal.
std::optional<TerminalSize> SizeOfTerminal(int fd);

}  // namespace kdbg::client
