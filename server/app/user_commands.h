// `kdbgd user ...`: an admin's words to the daemon that runs, over its own unix socket.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kdbg::app {

class UserCommands {
 public:
  // UNAVAILABLE from every command when no daemon listens on `socket`.
  explicit UserCommands(const std::filesystem::path& socket) : socket_(socket) {}

  // Each prints what an admin wants to know to standard output. `role` empty: as the server has it.
  absl::Status Add(const std::string& name, const std::string& role,
                   std::optional<absl::Duration> ttl) const;
  absl::Status List() const;
  absl::Status Revoke(const std::string& name) const;
  absl::Status Remove(const std::string& name) const;

 private:
  const std::filesystem::path socket_;
};

}  // namespace kdbg::app
