#include "server/app/access_parts.h"

#include <fmt/format.h>
#include <limits.h>
#include <unistd.h>

#include <utility>

#include "proto/support/status_macros.h"

namespace kdbg::app {
namespace {

std::vector<config::TcpAddress> TcpAddresses(const config::Server& server) {
  std::vector<config::TcpAddress> addresses;
  for (const std::string& text : server.listen) {
    if (auto address = config::ParseTcpAddress(text)) addresses.push_back(*std::move(address));
  }
  return addresses;
}

// What a colleague would write: this host's name, where it listens everywhere.
std::string AddressForClients(const std::vector<config::TcpAddress>& addresses) {
  if (addresses.empty()) return "";
  const auto& [host, port] = addresses.front();
  if (host == "0.0.0.0" || host == "::") {
    char name[HOST_NAME_MAX + 1] = {};
    return fmt::format("{}:{}", ::gethostname(name, sizeof name - 1) == 0 ? name : "HOST", port);
  }
  const bool is_v6 = host.find(':') != std::string::npos;
  return is_v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

service::GateLimits LimitsFrom(const config::Server& server) {
  service::GateLimits limits;
  limits.budget.calls_per_second = server.calls_per_second;
  limits.budget.burst = 5 * server.calls_per_second;
  limits.upload_bytes_per_second = server.upload_mib_per_second << 20;
  return limits;
}

}  // namespace

absl::Status AccessParts::Open(const config::Config& config, const std::filesystem::path& authority,
                               state::Database& database, access::Users& users,
                               const Clock& clock) {
  access::EnrolledUsers::Settings settings;
  settings.policy = access::PolicyFrom(config.access);
  if (config.tls) {
    addresses_ = TcpAddresses(config.server);
    KDBG_ASSIGN_OR_RETURN(authority_, access::CertificateAuthority::Open(authority, clock.Now()));
    KDBG_ASSIGN_OR_RETURN(keys_, access::TlsKeys::Open(*config.tls, *authority_, clock));
    settings.kind = config.tls->client_ca.empty() ? access::ClientAuthority::kOwn
                                                  : access::ClientAuthority::kOther;
    settings.authority = authority_.get();
    settings.certificate_lifetime = config.tls->certificate_lifetime;
  }
  KDBG_ASSIGN_OR_RETURN(enrolled_,
                        access::EnrolledUsers::Open(database, clock, std::move(settings)));
  KDBG_ASSIGN_OR_RETURN(grants_, access::Grants::Open(database));
  gate_ = std::make_unique<service::CallGate>(
      users, *grants_, clock, LimitsFrom(config.server),
      service::TlsCallers{.connections = connections_, .users = *enrolled_});
  const service::UserServiceImpl::Parts parts{.gate = *gate_,
                                              .enrolled = *enrolled_,
                                              .accounts = users,
                                              .clock = clock,
                                              .keys = keys_.get(),
                                              .address = AddressForClients(addresses_)};
  user_service_ = std::make_unique<service::UserServiceImpl>(parts);
  enrollment_service_ = std::make_unique<service::UserServiceImpl>(parts);
  return absl::OkStatus();
}

absl::Status AccessParts::Reload(const config::Access& access) {
  enrolled_->SetPolicy(access::PolicyFrom(access));
  gate_->CheckStreamsAgain();
  return ReloadKeys();
}

std::optional<service::TlsOptions> AccessParts::tls_options() {
  if (addresses_.empty()) return std::nullopt;
  return service::TlsOptions{.addresses = addresses_,
                             .keys = keys_.get(),
                             .book = &connections_,
                             .users = enrolled_.get(),
                             .enrollment = enrollment_service_.get()};
}

}  // namespace kdbg::app
