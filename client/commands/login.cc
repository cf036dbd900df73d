#include "client/commands/login.h"

#include <fmt/format.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "client/channel/tls_identity.h"
#include "client/output/text.h"
#include "kdbg/v1/user_service.grpc.pb.h"
#include "proto/contract/enrollment_code.h"
#include "proto/contract/status_codec.h"
#include "proto/support/default_paths.h"
#include "proto/support/file.h"
#include "proto/support/x509.h"

namespace kdbg::client {
namespace {

// The name in certificates of kdbgd's own authority.
constexpr char kOwnServerName[] = "kdbgd";

// Of the server that the code was made for, and nothing yet of who we are.
absl::StatusOr<TlsIdentity> Recognize(const TlsAddress& address, const EnrollmentCode& code) {
  KDBG_ASSIGN_OR_RETURN(const std::vector<std::string> shown, FetchCertificates(address));
  TlsIdentity server;
  for (const std::string& pem : shown) {
    KDBG_ASSIGN_OR_RETURN(const auto certificate, CertificatesFromPem(pem));
    if (Sha256Of(certificate.front().get()) == code.fingerprint) server.authority_pem = pem;
  }
  if (server.authority_pem.empty()) {
    return absl::PermissionDeniedError(
        fmt::format("{} is not the server that made this code: check the address and the code with "
                    "its admin; nothing was sent to it",
                    ToString(address)));
  }
  KDBG_ASSIGN_OR_RETURN(const auto leaf, CertificatesFromPem(shown.front()));
  const bool named =
      X509_check_host(leaf.front().get(), address.host.c_str(), 0, 0, nullptr) == 1 ||
      X509_check_ip_asc(leaf.front().get(), address.host.c_str(), 0) == 1;
  if (!named) server.server_name = kOwnServerName;
  return server;
}

absl::StatusOr<v1::CertificateResponse> Enroll(const TlsAddress& address, const TlsIdentity& server,
                                               const std::string& code,
                                               const std::string& request_pem) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  v1::UserService::Stub stub(OpenTlsChannel(address, server, arguments));
  v1::EnrollRequest request;
  request.set_code(code);
  request.set_certificate_request(request_pem);
  grpc::ClientContext context;
  Server::SetDeadline(context, kUnaryDeadline);
  v1::CertificateResponse response;
  const grpc::Status status = stub.Enroll(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

// Whether the server is the default from now on: unless another one is, or the file cannot be
// understood.
absl::StatusOr<bool> MakeDefault(const TlsAddress& address) {
  KDBG_ASSIGN_OR_RETURN(const std::filesystem::path directory,
                        UserConfigDirectory(PathEnvironment::Current()));
  const std::filesystem::path file = directory / "config.toml";
  const auto config = LoadClientConfig(file);
  if (!config.ok()) return false;
  if (!config->server.empty()) return config->server == ToString(address);
  auto text = ReadFile(file);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(
      file, fmt::format("server = \"{}\"\n{}", ToString(address), text.ok() ? *text : "")));
  return true;
}

}  // namespace

CommandEnd Login(Context& context, const LoginOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const ServerAddress parsed, ParseServerAddress(options.address));
  const auto* address = std::get_if<TlsAddress>(&parsed);
  if (address == nullptr) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: only HOST:PORT takes a login; unix: and ssh:// know you already", options.address));
  }
  std::string text = options.code;
  if (text.empty()) {
    if (::isatty(STDIN_FILENO) != 0) context.output().Note("The code that the admin gave you:");
    std::getline(std::cin, text);
  }
  KDBG_ASSIGN_OR_RETURN(const EnrollmentCode code, ParseEnrollmentCode(text));
  KDBG_ASSIGN_OR_RETURN(const TlsIdentity server, Recognize(*address, code));
  KDBG_ASSIGN_OR_RETURN(const PrivateKey key, NewPrivateKey());
  KDBG_ASSIGN_OR_RETURN(const std::string key_pem, ToPem(key));
  KDBG_ASSIGN_OR_RETURN(const std::string request, NewCertificateRequest(key));
  KDBG_ASSIGN_OR_RETURN(const v1::CertificateResponse response,
                        Enroll(*address, server, ToString(code), request));
  KDBG_ASSIGN_OR_RETURN(
      const TlsIdentity identity,
      MakeIdentity(key_pem, response.certificate(), response.authority(), response.server_name()));
  KDBG_RETURN_IF_ERROR(SaveIdentity(*address, identity));
  KDBG_ASSIGN_OR_RETURN(const bool is_default, MakeDefault(*address));

  KDBG_ASSIGN_OR_RETURN(const auto connected, Server::Connect(*address));
  KDBG_ASSIGN_OR_RETURN(const v1::ServerInfo info,
                        connected->Call<v1::ServerService>(&v1::ServerService::Stub::GetServerInfo,
                                                           v1::GetServerInfoRequest()));
  context.output().Note(fmt::format(
      "You are {} ({}) on {}; the certificate is good until {} and renews itself in use.",
      info.user(), info.role(), info.host_name(),
      absl::FormatTime("%Y-%m-%d", identity.expire_time, absl::LocalTimeZone())));
  if (!is_default) {
    context.output().Note(
        fmt::format("Your default server is another one: use --server {0}, or KDBG_SERVER={0}.",
                    ToString(*address)));
  }
  return kExitDone;
}

}  // namespace kdbg::client
