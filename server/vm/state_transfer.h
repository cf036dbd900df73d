// The bytes of a machine's state on their way between a file and QEMU's end of a unix socket.
// Stateless; every call blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"
#include "server/vm/hypervisor.h"

namespace kdbg::vm {

// A socket that only the machine's uid (and root) can connect to; gone with the handle.
class StateListener {
 public:
  static absl::StatusOr<StateListener> Listen(const StateChannel& channel);
  StateListener(StateListener&&) noexcept = default;
  ~StateListener();

  // Takes one connection and writes what comes to `file` until its end. Gives up when nobody has
  // connected, or nothing has come, for `patience`.
  //   CANCELLED           by `cancel`
  //   DEADLINE_EXCEEDED   out of patience
  //   RESOURCE_EXHAUSTED  kDiskFull, or more than `max_bytes`
  absl::Status Receive(int file, std::int64_t max_bytes, absl::Duration patience,
                       std::stop_token cancel) const;

 private:
  StateListener(UniqueFd socket, std::filesystem::path path);
  UniqueFd socket_;
  std::filesystem::path path_;
};

// Connects to `socket`, sends the whole of `file` and waits for the other end to close, which it
// does when it has taken everything, or given up.
//   UNAVAILABLE        nobody listens there
//   ABORTED            the other end went away before it had everything
//   DEADLINE_EXCEEDED  it took nothing, or did not close, for `patience`
absl::Status SendState(const std::filesystem::path& socket, int file, absl::Duration patience);

}  // namespace kdbg::vm
