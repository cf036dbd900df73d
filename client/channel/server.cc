#include "client/channel/server.h"

#include <fmt/format.h>
#include <grpcpp/create_channel_posix.h>

#include "proto/contract/status_codec.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "proto/support/x509.h"

namespace kdbg::client {
namespace {

constexpr int kLargestMessage = 32 << 20;
constexpr absl::Duration kDrainPatience = absl::Milliseconds(500);

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kLargestMessage);
  // The server is next door or behind an ssh that is already there: look again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // Its name notwithstanding, how long one attempt may take: a socket may lead over a slow link.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
  // What one stream may have on its way to us: over a long link the default would be a tenth of it.
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4 << 20);
  // No names to resolve here, and a proxy variable must not divert a local socket.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  return arguments;
}

std::chrono::system_clock::time_point From(absl::Time time) { return absl::ToChronoTime(time); }

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Connect(const ServerAddress& address) {
  std::unique_ptr<Server> server(new Server(address));
  if (const auto* local = std::get_if<UnixAddress>(&address)) {
    // gRPC would say "failed to connect to all addresses"; the kernel knows why.
    KDBG_ASSIGN_OR_RETURN(const int fd, ConnectUnix(local->socket));
    UniqueFd close_again(fd);
  }
  if (const auto* tls = std::get_if<TlsAddress>(&address)) {
    KDBG_ASSIGN_OR_RETURN(server->identity_, LoadIdentity(*tls));
  }
  KDBG_RETURN_IF_ERROR(server->Open());
  if (server->identity_) server->RenewIfDue();
  return server;
}

absl::Status Server::Open() {
  if (const auto* local = std::get_if<UnixAddress>(&address_)) {
    channel_ = grpc::CreateCustomChannel("unix:" + local->socket.string(),
                                         grpc::InsecureChannelCredentials(), Arguments());
  } else if (const auto* tls = std::get_if<TlsAddress>(&address_)) {
    channel_ = OpenTlsChannel(*tls, *identity_, Arguments());
  } else {
    channel_.reset();
    KDBG_ASSIGN_OR_RETURN(ssh_, SshLink::Open(std::get<SshAddress>(address_)));
    channel_ = grpc::CreateCustomInsecureChannelFromFd("localhost", ssh_->TakeFd(), Arguments());
  }
  stubs_ = {v1::ServerService::NewStub(channel_),  v1::SourceService::NewStub(channel_),
            v1::BuildService::NewStub(channel_),   v1::ArtifactService::NewStub(channel_),
            v1::SessionService::NewStub(channel_), v1::UserService::NewStub(channel_)};
  return absl::OkStatus();
}

void Server::RenewIfDue() {
  const absl::Time now = absl::Now();
  if (now >= identity_->expire_time || !IsRenewalDue(*identity_, now)) return;
  const auto key = NewPrivateKey();
  const auto key_pem = key.ok() ? ToPem(*key) : key.status();
  const auto request_pem = key.ok() ? NewCertificateRequest(*key) : key.status();
  if (!key_pem.ok() || !request_pem.ok()) return;
  v1::RenewCertificateRequest request;
  request.set_certificate_request(*request_pem);
  const auto answer = Call<v1::UserService>(&v1::UserService::Stub::RenewCertificate, request);
  if (!answer.ok()) return;
  auto renewed =
      MakeIdentity(*key_pem, answer->certificate(), answer->authority(), answer->server_name());
  if (!renewed.ok() || !SaveIdentity(std::get<TlsAddress>(address_), *renewed).ok()) return;
  identity_ = *std::move(renewed);
  (void)Open();
}

void Server::SetDeadline(grpc::ClientContext& context, absl::Duration deadline) {
  context.set_deadline(From(absl::Now() + deadline));
}

absl::Status Server::Translate(const grpc::Status& status) {
  absl::Status translated = FromGrpcStatus(status);
  if (!absl::IsUnavailable(translated) || !status.error_details().empty()) return translated;
  // Made by gRPC, not by kdbgd: the connection is gone or never was.
  if (ssh_ != nullptr) {
    return absl::UnavailableError(fmt::format("{}: {}", ToString(address_), ssh_->Complaint()));
  }
  if (const auto* tls = std::get_if<TlsAddress>(&address_)) return ExplainTls(*tls, *identity_);
  const auto again = ConnectUnix(std::get<UnixAddress>(address_).socket);
  if (!again.ok()) return again.status();
  UniqueFd close_again(*again);
  return absl::UnavailableError(fmt::format("{}: kdbgd broke off the call ({}): try again",
                                            ToString(address_), status.error_message()));
}

bool Server::Reconnect(absl::Duration patience) {
  if (ssh_ != nullptr) {
    if (!Open().ok()) return false;
    // A channel on a descriptor looks connected from the start; a call that waits shows what it is
    // worth.
    return Call<v1::ServerService>(&v1::ServerService::Stub::GetServerInfo,
                                   v1::GetServerInfoRequest(), patience)
        .ok();
  }
  // A daemon that is draining answers until it goes: wait for that, or it would use up every
  // attempt at once.
  channel_->WaitForStateChange(GRPC_CHANNEL_READY, From(absl::Now() + kDrainPatience));
  return channel_->WaitForConnected(From(absl::Now() + patience));
}

}  // namespace kdbg::client
