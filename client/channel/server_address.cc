#include "client/channel/server_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kSsh = "ssh://";
constexpr char kStartHint[] =
    "start one with `kdbgd`, or `systemctl start kdbgd` where it is installed as a service";

absl::StatusOr<ServerAddress> ParseSsh(std::string_view rest) {
  SshAddress address;
  if (const auto slash = rest.find('/'); slash != rest.npos) {
    address.socket = std::string(rest.substr(slash));
    if (address.socket == "/") address.socket.clear();
    rest = rest.substr(0, slash);
  }
  if (const auto colon = rest.rfind(':'); colon != rest.npos && rest.back() != ']') {
    address.port = std::string(rest.substr(colon + 1));
    rest = rest.substr(0, colon);
  }
  address.host = std::string(rest);
  // A leading '-' would be an option to ssh.
  if (address.host.empty() || address.host.front() == '-' ||
      address.port.find_first_not_of("0123456789") != std::string::npos) {
    return absl::InvalidArgumentError("an ssh server is written ssh://[USER@]HOST[:PORT]");
  }
  return address;
}

bool IsHost(std::string_view host) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  };
  return !host.empty() && host.front() != '-' && std::all_of(host.begin(), host.end(), allowed);
}

// HOST:PORT or [ADDRESS]:PORT.
absl::StatusOr<ServerAddress> ParseTls(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  TlsAddress address{.host = absl::AsciiStrToLower(std::string(text.substr(0, colon))),
                     .port = std::string(text.substr(colon + 1))};
  int port = 0;
  const bool brackets = address.host.starts_with('[') && address.host.ends_with(']');
  if (brackets) address.host = address.host.substr(1, address.host.size() - 2);
  in6_addr bytes = {};
  const bool good_host =
      brackets ? ::inet_pton(AF_INET6, address.host.c_str(), &bytes) == 1 : IsHost(address.host);
  if (!good_host || !absl::SimpleAtoi(address.port, &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is no server: write HOST:PORT, unix:/PATH or ssh://HOST", text));
  }
  return address;
}

}  // namespace

absl::StatusOr<ServerAddress> ParseServerAddress(std::string_view text) {
  if (text.starts_with(kSsh)) return ParseSsh(text.substr(kSsh.size()));
  if (text.starts_with(kUnix)) text.remove_prefix(kUnix.size());
  if (text.starts_with("///")) text.remove_prefix(2);
  if (!text.empty() && text.front() == '/') return UnixAddress{.socket = std::string(text)};
  if (text.find(':') != text.npos) return ParseTls(text);
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no server: write unix:/PATH, ssh://HOST or HOST:PORT", text));
}

std::string ToString(const ServerAddress& address) {
  if (const auto* local = std::get_if<UnixAddress>(&address)) {
    return fmt::format("unix:{}", local->socket.string());
  }
  if (const auto* tls = std::get_if<TlsAddress>(&address)) {
    const bool is_v6 = tls->host.find(':') != std::string::npos;
    return is_v6 ? fmt::format("[{}]:{}", tls->host, tls->port)
                 : fmt::format("{}:{}", tls->host, tls->port);
  }
  const auto& ssh = std::get<SshAddress>(address);
  return fmt::format("ssh://{}{}{}{}", ssh.host, ssh.port.empty() ? "" : ":", ssh.port, ssh.socket);
}

absl::StatusOr<ClientConfig> LoadClientConfig(const std::filesystem::path& path) {
  ClientConfig config;
  const auto text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return config;
  if (!text.ok()) return text.status();
  const auto at = [&](const toml::source_region& where, std::string_view what) {
    return absl::InvalidArgumentError(
        fmt::format("{}:{}:{}: {}", path.string(), where.begin.line, where.begin.column, what));
  };
  try {  // toml++ as Debian builds it reports by exception
    const toml::table table = toml::parse(*text, path.string());
    for (const auto& [key, value] : table) {
      std::string* field = key == "server" ? &config.server : key == "gdb" ? &config.gdb : nullptr;
      if (field == nullptr) {
        return at(value.source(), fmt::format("unknown key '{}'; known are server, gdb",
                                              std::string_view(key.str())));
      }
      if (!value.is_string()) return at(value.source(), "must be a string");
      *field = value.as_string()->get();
    }
  } catch (const toml::parse_error& error) {
    return at(error.source(), error.description());
  }
  return config;
}

absl::StatusOr<int> ConnectUnix(const std::filesystem::path& socket) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(fmt::format("{}: too long for a socket ({} bytes at most)",
                                                  socket.string(), sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return fd.Release();
  }
  if (errno == EACCES || errno == EPERM) {
    return absl::PermissionDeniedError(
        fmt::format("{}: you may not connect to this kdbgd: ask its admin for access (often the "
                    "group of the socket)",
                    socket.string()));
  }
  return absl::UnavailableError(fmt::format("no kdbgd listens on {} ({}): {}", socket.string(),
                                            std::strerror(errno), kStartHint));
}

absl::StatusOr<ServerAddress> ChooseServer(const std::string& flag, const ClientConfig& config,
                                           const PathEnvironment& environment) {
  if (!flag.empty()) return ParseServerAddress(flag);
  const char* variable = std::getenv("KDBG_SERVER");
  if (variable != nullptr && *variable != '\0') return ParseServerAddress(variable);
  if (!config.server.empty()) return ParseServerAddress(config.server);
  std::vector<std::string> tried;
  for (const std::filesystem::path& socket : DefaultSockets(environment)) {
    const auto fd = ConnectUnix(socket);
    if (fd.ok()) UniqueFd close_again(*fd);
    if (fd.ok() || absl::IsPermissionDenied(fd.status())) return UnixAddress{.socket = socket};
    tried.push_back(socket.string());
  }
  return absl::UnavailableError(
      fmt::format("no kdbgd listens on {}: {}; for another host use "
                  "--server ssh://HOST or kdbgctl login HOST:PORT",
                  fmt::join(tried, ", "), kStartHint));
}

}  // namespace kdbg::client
