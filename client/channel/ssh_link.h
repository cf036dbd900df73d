// A byte stream to a kdbgd elsewhere: `ssh HOST kdbgctl dial-stdio` on one end of a socket pair.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/channel/server_address.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {

class SshLink {
 public:
  static absl::StatusOr<std::unique_ptr<SshLink>> Open(const SshAddress& address);
  // Closes our end if still held, which ends ssh.
  ~SshLink();

  // Our end, non-blocking as gRPC wants it; the caller owns it from now on.
  int TakeFd() { return ours_.Release(); }

  // What ssh complained of: waits a moment for it to end, for use when a call just failed.
  std::string Complaint();

 private:
  explicit SshLink(Subprocess ssh) : ssh_(std::move(ssh)) {}
  void CollectErrors(UniqueFd errors);

  Subprocess ssh_;
  UniqueFd ours_;
  absl::Mutex mutex_;
  std::string errors_ ABSL_GUARDED_BY(mutex_);
  bool collected_ ABSL_GUARDED_BY(mutex_) = false;  // ssh's stderr has ended
  std::thread collector_;
};

// The other end of it: relays `in_fd` and `out_fd` to the socket until both sides have closed.
absl::Status DialStdio(const std::filesystem::path& socket, int in_fd, int out_fd);

}  // namespace kdbg::client
