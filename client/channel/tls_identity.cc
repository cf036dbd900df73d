#include "client/channel/tls_identity.h"

#include <fmt/format.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/strings/ascii.h"
#include "proto/contract/error.h"
#include "proto/support/default_paths.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "proto/support/x509.h"

namespace kdbg::client {
namespace {

using SslContext = std::unique_ptr<SSL_CTX, OpenSslFree<&SSL_CTX_free>>;
using Ssl = std::unique_ptr<SSL, OpenSslFree<&SSL_free>>;

constexpr std::string_view kNameLine = "server-name: ";
constexpr int kPatienceMs = 10'000;

absl::Time BeginTimeOf(const X509* certificate) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

absl::Status Unauthenticated(std::string message) {
  return MakeError(absl::StatusCode::kUnauthenticated, Reason::kUnauthenticated, message);
}

std::string HowToEnroll(const TlsAddress& address) {
  return fmt::format(
      "ask its admin for a code (kdbgd user add NAME), then kdbgctl login {} --code CODE",
      ToString(address));
}

absl::StatusOr<UniqueFd> ConnectTcp(const TlsAddress& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &list);
  if (error != 0) {
    return absl::UnavailableError(fmt::format("{}: {}", address.host, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, OpenSslFree<&::freeaddrinfo>> free_list(list);
  int reason = 0;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    UniqueFd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) continue;
    // Bounds connect and every read and write after it.
    const timeval patience = {.tv_sec = kPatienceMs / 1000, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) return fd;
    reason = errno == EINPROGRESS ? ETIMEDOUT : errno;
  }
  return absl::UnavailableError(
      fmt::format("no kdbgd answers on {} ({})", ToString(address), std::strerror(reason)));
}

absl::StatusOr<SslContext> NewContext() {
  SslContext context(SSL_CTX_new(TLS_client_method()));
  if (!context) return absl::InternalError(OpenSslError());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof kHttp2);
  return context;
}

// A handshake on `fd`; nullptr when it failed, and OpenSSL knows why.
absl::StatusOr<Ssl> Handshake(SSL_CTX* context, const UniqueFd& fd, const std::string& name) {
  Ssl ssl(SSL_new(context));
  if (!ssl || SSL_set_fd(ssl.get(), fd.get()) != 1) return absl::InternalError(OpenSslError());
  SSL_set_tlsext_host_name(ssl.get(), name.c_str());
  if (SSL_connect(ssl.get()) != 1) {
    const long verified = SSL_get_verify_result(ssl.get());
    return absl::UnauthenticatedError(
        verified != X509_V_OK ? X509_verify_cert_error_string(verified) : OpenSslError());
  }
  return ssl;
}

// Loads `identity` into it, and its authority.
absl::Status Use(SSL_CTX* context, const TlsIdentity& identity) {
  KDBG_ASSIGN_OR_RETURN(const PrivateKey key, PrivateKeyFromPem(identity.key_pem));
  KDBG_ASSIGN_OR_RETURN(const auto own, CertificatesFromPem(identity.certificate_pem));
  KDBG_ASSIGN_OR_RETURN(const auto authority, CertificatesFromPem(identity.authority_pem));
  SSL_CTX_use_certificate(context, own.front().get());
  SSL_CTX_use_PrivateKey(context, key.get());
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  X509_STORE_add_cert(store, authority.front().get());
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::filesystem::path> IdentityFile(const TlsAddress& address) {
  KDBG_ASSIGN_OR_RETURN(const std::filesystem::path directory,
                        UserConfigDirectory(PathEnvironment::Current()));
  return directory / "tls" / (ToString(address) + ".pem");
}

absl::StatusOr<TlsIdentity> MakeIdentity(std::string_view key_pem, std::string_view certificate_pem,
                                         std::string_view authority_pem, std::string server_name) {
  KDBG_ASSIGN_OR_RETURN(const auto own, CertificatesFromPem(certificate_pem));
  KDBG_ASSIGN_OR_RETURN(const auto authority, CertificatesFromPem(authority_pem));
  return TlsIdentity{.key_pem = std::string(key_pem),
                     .certificate_pem = ToPem(own.front().get()),
                     .authority_pem = ToPem(authority.front().get()),
                     .server_name = std::move(server_name),
                     .begin_time = BeginTimeOf(own.front().get()),
                     .expire_time = ExpireTimeOf(own.front().get())};
}

absl::StatusOr<TlsIdentity> LoadIdentity(const TlsAddress& address) {
  KDBG_ASSIGN_OR_RETURN(const std::filesystem::path file, IdentityFile(address));
  const auto text = ReadFile(file, kPemLimit);
  if (absl::IsNotFound(text.status())) {
    return Unauthenticated(fmt::format("this machine has no certificate for {}: {}",
                                       ToString(address), HowToEnroll(address)));
  }
  if (!text.ok()) return text.status();
  const auto damaged = [&](std::string_view why) {
    return Unauthenticated(fmt::format("{}: {}; {}", file.string(), why, HowToEnroll(address)));
  };
  const std::string_view all = *text;
  const std::size_t end = all.find('\n');
  if (!all.starts_with(kNameLine) || end == all.npos) return damaged("not written by kdbgctl");
  const auto chain = CertificatesFromPem(all);
  const auto key = PrivateKeyFromPem(all);
  if (!chain.ok() || chain->size() != 2 || !key.ok()) {
    return damaged("it should hold a key and two certificates");
  }
  KDBG_ASSIGN_OR_RETURN(const std::string key_pem, ToPem(*key));
  return MakeIdentity(key_pem, ToPem(chain->front().get()), ToPem(chain->back().get()),
                      std::string(all.substr(kNameLine.size(), end - kNameLine.size())));
}

absl::Status SaveIdentity(const TlsAddress& address, const TlsIdentity& identity) {
  KDBG_ASSIGN_OR_RETURN(const std::filesystem::path file, IdentityFile(address));
  KDBG_RETURN_IF_ERROR(MakeDirectories(file.parent_path(), 0700));
  return WriteFileAtomic(
      file,
      fmt::format("{}{}\n{}{}{}", kNameLine, identity.server_name, identity.key_pem,
                  identity.certificate_pem, identity.authority_pem),
      0600);
}

bool IsRenewalDue(const TlsIdentity& identity, absl::Time now) {
  return identity.expire_time - now < (identity.expire_time - identity.begin_time) / 3;
}

std::shared_ptr<grpc::Channel> OpenTlsChannel(const TlsAddress& address,
                                              const TlsIdentity& identity,
                                              grpc::ChannelArguments arguments) {
  if (!identity.server_name.empty()) arguments.SetSslTargetNameOverride(identity.server_name);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = identity.authority_pem;
  options.pem_private_key = identity.key_pem;
  options.pem_cert_chain = identity.certificate_pem;
  return grpc::CreateCustomChannel("dns:///" + ToString(address), grpc::SslCredentials(options),
                                   arguments);
}

absl::Status ExplainTls(const TlsAddress& address, const TlsIdentity& identity) {
  if (absl::Now() >= identity.expire_time) {
    return Unauthenticated(
        fmt::format("this machine's certificate for {} expired on {}: {}", ToString(address),
                    absl::FormatTime("%Y-%m-%d", identity.expire_time, absl::LocalTimeZone()),
                    HowToEnroll(address)));
  }
  KDBG_ASSIGN_OR_RETURN(const UniqueFd fd, ConnectTcp(address));
  KDBG_ASSIGN_OR_RETURN(const SslContext context, NewContext());
  KDBG_RETURN_IF_ERROR(Use(context.get(), identity));
  const std::string& name = identity.server_name.empty() ? address.host : identity.server_name;
  const auto ssl = Handshake(context.get(), fd, name);
  if (!ssl.ok()) {
    return Unauthenticated(fmt::format(
        "{} could not show that it is the server this machine was enrolled with ({}): if it was "
        "set up anew, {}",
        ToString(address), std::string(ssl.status().message()), HowToEnroll(address)));
  }
  // A server that does not like our certificate says so after its own handshake is over.
  char byte = 0;
  if (SSL_read(ssl->get(), &byte, 1) == 1) {
    return absl::UnavailableError(
        fmt::format("{}: kdbgd broke off the call: try again", ToString(address)));
  }
  return Unauthenticated(fmt::format("{} does not take this machine's certificate ({}): {}",
                                     ToString(address), OpenSslError(), HowToEnroll(address)));
}

absl::StatusOr<std::vector<std::string>> FetchCertificates(const TlsAddress& address) {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd fd, ConnectTcp(address));
  KDBG_ASSIGN_OR_RETURN(const SslContext context, NewContext());
  const auto ssl = Handshake(context.get(), fd, address.host);
  if (!ssl.ok()) {
    return absl::UnavailableError(fmt::format("{} does not speak TLS as kdbgd does ({})",
                                              ToString(address),
                                              std::string(ssl.status().message())));
  }
  std::vector<std::string> shown;
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl->get());
  for (int i = 0; i < sk_X509_num(chain); ++i) shown.push_back(ToPem(sk_X509_value(chain, i)));
  return shown;
}

}  // namespace kdbg::client
