#include "client/commands/context.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <cstdint>

namespace kdbg::client {

absl::StatusOr<ClientConfig> Context::Config() const {
  const auto directory = UserConfigDirectory(PathEnvironment::Current());
  if (!directory.ok()) return ClientConfig();  // no home, no file
  return LoadClientConfig(*directory / "config.toml");
}

absl::StatusOr<ServerAddress> Context::Address() const {
  KDBG_ASSIGN_OR_RETURN(const ClientConfig config, Config());
  return ChooseServer(server_flag_, config, PathEnvironment::Current());
}

absl::StatusOr<Server*> Context::server() {
  if (server_ == nullptr) {
    KDBG_ASSIGN_OR_RETURN(const ServerAddress address, Address());
    KDBG_ASSIGN_OR_RETURN(server_, Server::Connect(address));
  }
  return server_.get();
}

std::string NewRequestId() {
  std::uint8_t b[16] = {};
  (void)!::getrandom(b, sizeof b, 0);
  b[6] = static_cast<std::uint8_t>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<std::uint8_t>((b[8] & 0x3f) | 0x80);
  std::string id;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += fmt::format("{:02x}", b[i]);
  }
  return id;
}

}  // namespace kdbg::client
