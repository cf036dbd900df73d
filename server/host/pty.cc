#include "server/host/pty.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::host {

absl::StatusOr<Pty> Pty::Open(TerminalSize size) {
  UniqueFd master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  if (!master) return ErrnoError(errno, "open /dev/ptmx");
  if (::unlockpt(master.get()) != 0) return ErrnoError(errno, "unlock a pseudo terminal");
  // By descriptor, not by path: /dev/pts may be another one here.
  UniqueFd terminal(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal) return ErrnoError(errno, "open a pseudo terminal");
  Pty pty(std::move(master), std::move(terminal));
  KDBG_RETURN_IF_ERROR(pty.Resize(size));
  return pty;
}

absl::Status Pty::Resize(TerminalSize size) const {
  winsize window = {};
  window.ws_col = static_cast<unsigned short>(size.columns);
  window.ws_row = static_cast<unsigned short>(size.rows);
  if (::ioctl(master_.get(), TIOCSWINSZ, &window) != 0) {
    return ErrnoError(errno, "set the size of a pseudo terminal");
  }
  return absl::OkStatus();
}

}  // namespace kdbg::host
