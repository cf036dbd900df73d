// A server reached by TLS on a port of the loopback: real keys, real enrolment, the service of
// users and toy services behind them.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "server/access/certificate_authority.h"
#include "server/access/enrolled_users.h"
#include "server/access/grants.h"
#include "server/access/tls_keys.h"
#include "server/service/connection_book.h"
#include "server/service/grpc_server.h"
#include "server/service/user_service.h"
#include "server/state/database.h"
#include "tests/contract/kit/service_test_kit.h"
#include "tests/contract/kit/toy_services.h"

namespace kdbg {

struct TlsServerOptions {
  config::Tls settings = {};
  service::TlsLimits limits = {};
  service::GateLimits gate = {};
  absl::Duration idle_limit = absl::Hours(1);
};

// What a machine has that was let in.
struct ClientKeys {
  std::string key_pem;
  std::string certificate_pem;  // empty: none
};

class TlsServer {
 public:
  explicit TlsServer(TlsServerOptions options = {});
  ~TlsServer();

  int port() const { return server_->tls_ports().front(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
  const std::filesystem::path& directory() const { return directory_.path(); }
  std::filesystem::path socket() const { return directory_.path() / "kdbgd.sock"; }
  // The whole text.
  std::string NewCode(const std::string& user);
  // Enrolled without the network.
  ClientKeys NewUser(const std::string& user);
  // A channel of its own. `authority_pem` empty: the server's.
  std::shared_ptr<grpc::Channel> Connect(const ClientKeys& keys,
                                         const std::string& authority_pem = "") const;
  // As a local admin.
  std::shared_ptr<grpc::Channel> AsAdmin() { return ConnectAs(kAdmin, directory_.path()); }

  access::EnrolledUsers& enrolled() { return *enrolled_; }
  const access::CertificateAuthority& authority() const { return *authority_; }
  access::TlsKeys& keys() { return *keys_; }
  service::ToySessionService& sessions() { return *sessions_; }

 private:
  TestDirectory directory_;
  SystemClock clock_;
  TestAccounts accounts_;
  access::Users users_{TestAccounts::Policy(), accounts_, clock_, ::getuid()};
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<access::CertificateAuthority> authority_;
  std::unique_ptr<access::TlsKeys> keys_;
  std::unique_ptr<access::EnrolledUsers> enrolled_;
  std::unique_ptr<access::Grants> grants_;
  service::ConnectionBook connections_;
  std::unique_ptr<service::CallGate> gate_;
  std::unique_ptr<service::ToyServerService> info_;
  std::unique_ptr<service::ToySessionService> sessions_;
  std::unique_ptr<service::UserServiceImpl> user_service_;
  std::unique_ptr<service::UserServiceImpl> enrollment_;
  std::unique_ptr<service::GrpcServer> server_;
};

}  // namespace kdbg
