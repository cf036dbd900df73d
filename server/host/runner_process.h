// The kdbg-runner that a daemon starts for itself where systemd does not run one. It ends with this
// object and with this process, however that dies, and takes every sandbox with it.
//
// Made by the composition root, before gRPC starts.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "server/host/identity.h"

namespace kdbg::host {

class RunnerProcess {
 public:
  struct Options {
    std::filesystem::path executable;  // kdbg-runner
    std::filesystem::path directory;   // private to the daemon; the socket is made in it
    // Commands may see only what lies below these.
    std::vector<std::filesystem::path> allowed_roots;
    // Commands may run as [first, first + count); count 0 when the daemon is not root: only as
    // itself.
    std::int64_t first_uid = 0;
    std::int64_t uid_count = 0;
  };

  static absl::StatusOr<std::unique_ptr<RunnerProcess>> Spawn(const Options& options);
  ~RunnerProcess();

  const std::filesystem::path& socket() const { return socket_; }
  int pid() const { return child_.pid(); }

 private:
  RunnerProcess(std::filesystem::path socket, Subprocess child, UniqueFd lifeline);

  const std::filesystem::path socket_;
  Subprocess child_;
  UniqueFd lifeline_;  // the runner ends when this closes
};

}  // namespace kdbg::host
