// A pseudo terminal. Its terminal end becomes the standard descriptors of a command (setsid --ctty
// makes it that command's controlling terminal); this end carries the bytes.
//
// One thread at a time; Resize from any.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::host {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

class Pty {
 public:
  static absl::StatusOr<Pty> Open(TerminalSize size);

  // Ours: non-blocking. Reading fails with EIO once nobody has the terminal end open any more.
  int fd() const { return master_.get(); }
  int terminal_fd() const { return terminal_.get(); }
  // When the command has it.
  void CloseTerminal() { terminal_.Reset(); }

  // The command is told by SIGWINCH.
  absl::Status Resize(TerminalSize size) const;

 private:
  Pty(UniqueFd master, UniqueFd terminal)
      : master_(std::move(master)), terminal_(std::move(terminal)) {}

  UniqueFd master_;
  UniqueFd terminal_;
};

}  // namespace kdbg::host
