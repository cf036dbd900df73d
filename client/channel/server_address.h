// Which kdbgd to talk to: parsing what the user wrote and choosing when nothing was written.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "proto/support/default_paths.h"

namespace kdbg::client {

struct UnixAddress {
  std::filesystem::path socket;
};

// ssh://[USER@]HOST[:PORT][/SOCKET]: kdbgctl on HOST relays to its default socket, or to SOCKET.
struct SshAddress {
  std::string host;  // with the user
  std::string port;
  std::string socket;
};

// HOST:PORT, by TLS with this machine's certificate for it (tls_identity.h).
struct TlsAddress {
  std::string host;  // a name or a number, without brackets
  std::string port;
};

using ServerAddress = std::variant<UnixAddress, SshAddress, TlsAddress>;

// INVALID_ARGUMENT for another form.
absl::StatusOr<ServerAddress> ParseServerAddress(std::string_view text);

// As ParseServerAddress reads it.
std::string ToString(const ServerAddress& address);

// kdbgctl's own settings, from `$XDG_CONFIG_HOME/kdbg/config.toml`.
struct ClientConfig {
  std::string server;
  std::string gdb = "gdb";
};
// An absent file is an empty one. INVALID_ARGUMENT names file, line and column.
absl::StatusOr<ClientConfig> LoadClientConfig(const std::filesystem::path& path);

// --server, else KDBG_SERVER, else the configuration, else the first default socket that somebody
// listens on. UNAVAILABLE says where it looked and how to start a daemon.
absl::StatusOr<ServerAddress> ChooseServer(const std::string& flag, const ClientConfig& config,
                                           const PathEnvironment& environment);

// A connected stream socket. UNAVAILABLE or PERMISSION_DENIED with the fix.
absl::StatusOr<int> ConnectUnix(const std::filesystem::path& socket);

}  // namespace kdbg::client
