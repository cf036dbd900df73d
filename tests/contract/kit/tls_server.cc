#include "tests/contract/kit/tls_server.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "proto/contract/enrollment_code.h"
#include "proto/support/x509.h"

namespace kdbg {
namespace {

template <typename T>
T Need(absl::StatusOr<T> value, const char* what) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s: %s\n", what, value.status().ToString().c_str());
  std::abort();
}

}  // namespace

TlsServer::TlsServer(TlsServerOptions options) {
  const std::filesystem::path& root = directory_.path();
  std::vector<state::Migration> migrations;
  for (const auto& part : {access::EnrolledUsers::Migrations(), access::Grants::Migrations()}) {
    migrations.insert(migrations.end(), part.begin(), part.end());
  }
  database_ = Need(state::Database::Open(root / "state.db", migrations), "database");
  grants_ = Need(access::Grants::Open(*database_), "grants");
  authority_ = Need(access::CertificateAuthority::Open(root / "tls", clock_.Now()), "authority");
  keys_ = Need(access::TlsKeys::Open(options.settings, *authority_, clock_), "keys");
  access::EnrolledUsers::Settings settings;
  settings.kind = options.settings.client_ca.empty() ? access::ClientAuthority::kOwn
                                                     : access::ClientAuthority::kOther;
  settings.authority = authority_.get();
  settings.policy = TestAccounts::Policy();
  settings.certificate_lifetime = options.settings.certificate_lifetime;
  enrolled_ = Need(access::EnrolledUsers::Open(*database_, clock_, settings), "users");
  gate_ = std::make_unique<service::CallGate>(
      users_, *grants_, clock_, options.gate,
      service::TlsCallers{.connections = connections_, .users = *enrolled_});
  info_ = std::make_unique<service::ToyServerService>(*gate_);
  sessions_ = std::make_unique<service::ToySessionService>(*gate_);
  const service::UserServiceImpl::Parts parts{.gate = *gate_,
                                              .enrolled = *enrolled_,
                                              .accounts = users_,
                                              .clock = clock_,
                                              .keys = keys_.get(),
                                              .address = "127.0.0.1:0"};
  user_service_ = std::make_unique<service::UserServiceImpl>(parts);
  enrollment_ = std::make_unique<service::UserServiceImpl>(parts);
  service::GrpcServerOptions server;
  server.addresses.emplace_back().path = socket();
  server.runtime_directory = root;
  server.idle_limit = options.idle_limit;
  server.tls = service::TlsOptions{.addresses = {{.host = "127.0.0.1", .port = 0}},
                                   .keys = keys_.get(),
                                   .book = &connections_,
                                   .users = enrolled_.get(),
                                   .enrollment = enrollment_.get(),
                                   .limits = options.limits};
  server_ = Need(service::GrpcServer::Start(
                     server, {info_.get(), sessions_.get(), user_service_.get()}, *gate_),
                 "server");
}

TlsServer::~TlsServer() { server_.reset(); }

std::string TlsServer::NewCode(const std::string& user) {
  const auto code = Need(enrolled_->Invite(user, std::nullopt, absl::Hours(1)), "code");
  return ToString(
      EnrollmentCode{.secret = code.secret, .fingerprint = keys_->Current()->fingerprint});
}

ClientKeys TlsServer::NewUser(const std::string& user) {
  const PrivateKey key = Need(NewPrivateKey(), "key");
  const auto code = Need(enrolled_->Invite(user, std::nullopt, absl::Hours(1)), "code");
  const auto issued =
      Need(enrolled_->Enroll(code.secret, Need(NewCertificateRequest(key), "request"), "kit"),
           "certificate");
  return {.key_pem = Need(ToPem(key), "key"), .certificate_pem = issued.pem};
}

std::shared_ptr<grpc::Channel> TlsServer::Connect(const ClientKeys& keys,
                                                  const std::string& authority_pem) const {
  const auto material = keys_->Current();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority_pem.empty() ? material->anchor_pem : authority_pem;
  if (!keys.certificate_pem.empty()) {
    options.pem_private_key = keys.key_pem;
    options.pem_cert_chain = keys.certificate_pem;
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!material->server_name.empty()) arguments.SetSslTargetNameOverride(material->server_name);
  return grpc::CreateCustomChannel("ipv4:" + address(), grpc::SslCredentials(options), arguments);
}

}  // namespace kdbg
