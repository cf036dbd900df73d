// Starts sandboxes through the runner's socket: one connection per command, one request on it, and
// closing it ends the command. Any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/host/sandbox.h"

namespace kdbg::host {

class RunnerClient : public SandboxRunner {
 public:
  // A unix SOCK_SEQPACKET socket, of RunnerProcess or of systemd's kdbg-runner.socket. Connects
  // only when used.
  explicit RunnerClient(std::filesystem::path socket);

  absl::StatusOr<std::unique_ptr<SandboxRun>> Start(const Sandbox& sandbox, int stdin_fd,
                                                    int stdout_fd, int stderr_fd) override;
  SandboxAbility Probe() override;

 private:
  const std::filesystem::path socket_;
};

}  // namespace kdbg::host
