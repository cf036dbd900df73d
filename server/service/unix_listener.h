// The public unix sockets, and the relay behind them that gives each connection its name
// (peer_identity.h).
//
// Connections are accepted here, their SO_PEERCRED is read, and bytes travel both ways between the
// caller and gRPC's private socket, one bounded buffer each way. One thread runs all of it; it ends
// with the object.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kdbg::service {

struct UnixAddress {
  std::filesystem::path path;
  int mode = 0666;                   // who may connect; roles are decided per call
  std::optional<std::string> group;  // of the socket, by name
  int inherited_fd = -1;  // a listening socket systemd made for us; path is for display then
};

struct RelayLimits {
  int max_connections_per_uid = 64;
  int max_connections = 1024;
};

class UnixListener {
 public:
  // `private_socket` is where gRPC listens. A socket file that nobody serves is replaced;
  // ALREADY_EXISTS when somebody does. INVALID_ARGUMENT for a path that does not fit into a socket
  // address or an unknown group.
  static absl::StatusOr<std::unique_ptr<UnixListener>> Start(
      const std::vector<UnixAddress>& addresses, const std::filesystem::path& private_socket,
      const RelayLimits& limits);
  // Cuts what is still connected.
  ~UnixListener();

  // No more connections; those there are go on. The socket files are removed.
  void StopAccepting();

 private:
  class Impl;
  explicit UnixListener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kdbg::service
