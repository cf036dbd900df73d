// Who may come: accounts, enrolled users, TLS keys, what was granted to whom, the gate they all
// pass and the service about them. A part of the composition root of its own.
#pragma once

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/access/certificate_authority.h"
#include "server/access/enrolled_users.h"
#include "server/access/grants.h"
#include "server/access/tls_keys.h"
#include "server/access/users.h"
#include "server/base/clock.h"
#include "server/config/config.h"
#include "server/service/call_gate.h"
#include "server/service/connection_book.h"
#include "server/service/grpc_server.h"
#include "server/service/user_service.h"
#include "server/state/database.h"

namespace kdbg::app {

class AccessParts {
 public:
  // `authority` is the directory of kdbgd's own. `users`, the accounts of this host, outlives it.
  absl::Status Open(const config::Config& config, const std::filesystem::path& authority,
                    state::Database& database, access::Users& users, const Clock& clock);

  service::CallGate& gate() { return *gate_; }
  grpc::Service* user_service() { return user_service_.get(); }
  // nullopt without an address on TCP.
  std::optional<service::TlsOptions> tls_options();
  // Streams end whose caller has another role now.
  absl::Status Reload(const config::Access& access);
  // Files that changed, certificates that near their end.
  absl::Status ReloadKeys() { return keys_ ? keys_->Reload() : absl::OkStatus(); }

 private:
  std::vector<config::TcpAddress> addresses_;
  std::unique_ptr<access::Grants> grants_;
  std::unique_ptr<access::CertificateAuthority> authority_;
  std::unique_ptr<access::TlsKeys> keys_;
  std::unique_ptr<access::EnrolledUsers> enrolled_;
  service::ConnectionBook connections_;
  std::unique_ptr<service::CallGate> gate_;
  std::unique_ptr<service::UserServiceImpl> user_service_;
  std::unique_ptr<service::UserServiceImpl> enrollment_service_;  // for those without certificate
};

}  // namespace kdbg::app
