#include "server/service/grpc_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"

#include "proto/contract/status_codec.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::service {
namespace {

constexpr std::string_view kDirectoryPrefix = "grpc-";
constexpr const char* kServiceNames[] = {"kdbg.v1.SourceService",   "kdbg.v1.BuildService",
                                         "kdbg.v1.ArtifactService", "kdbg.v1.SessionService",
                                         "kdbg.v1.ServerService",   "kdbg.v1.UserService"};

// Both are plugins of the process, to be asked for before the first server is built.
void EnableHealthAndReflection() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void SetAllServing(grpc::Server& server, bool serving) {
  auto* health = server.GetHealthCheckService();
  health->SetServingStatus("", serving);
  for (const char* name : kServiceNames) health->SetServingStatus(name, serving);
}

// A daemon that was killed could not tidy up.
void RemoveLeftOvers(const std::filesystem::path& runtime_directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory, ignored)) {
    if (!entry.path().filename().native().starts_with(kDirectoryPrefix)) continue;
    std::filesystem::remove_all(entry.path(), ignored);
  }
}

struct Size {
  int max_request_bytes;
  std::size_t memory_bytes;
  int max_concurrent_streams;
  absl::Duration idle_limit;
};
// A code, a certificate request, and from few connections at a time.
constexpr Size kForStrangers = {.max_request_bytes = 64 << 10,
                                .memory_bytes = 16 << 20,
                                .max_concurrent_streams = 4,
                                .idle_limit = absl::Minutes(1)};

// What callers without a certificate ask for beside enrolment, by whatever name.
class AskWhoTheyAre final : public grpc::CallbackGenericService {
  class Refusal final : public grpc::ServerGenericBidiReactor {
   public:
    Refusal() { Finish(ToGrpcStatus(NoIdentityError())); }
    void OnDone() override { delete this; }
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Refusal;
  }
};

std::unique_ptr<grpc::Server> Build(const Size& size, const std::vector<grpc::Service*>& services,
                                    const std::string& address,
                                    grpc::CallbackGenericService* all_else = nullptr) {
  EnableHealthAndReflection();
  grpc::ServerBuilder builder;
  int selected = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &selected);
  builder.SetMaxReceiveMessageSize(size.max_request_bytes);
  // Health and reflection are of the synchronous kind: their threads are few, whoever calls them.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  grpc::ResourceQuota quota("kdbgd");
  quota.Resize(size.memory_bytes);
  quota.SetMaxThreads(16);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, size.max_concurrent_streams);
  // A caller that vanished behind ssh is noticed; one that pings itself (kdbgctl, every 30 s) is
  // not cut.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(size.idle_limit)));
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (all_else != nullptr) builder.RegisterCallbackGenericService(all_else);
  auto server = builder.BuildAndStart();
  // The private socket is the one address; 0 says that it could not be had.
  return selected == 0 ? nullptr : std::move(server);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(
    const GrpcServerOptions& options, const std::vector<grpc::Service*>& services, CallGate& gate) {
  RemoveLeftOvers(options.runtime_directory);
  std::string directory =
      (options.runtime_directory / fmt::format("{}XXXXXX", kDirectoryPrefix)).native();
  if (::mkdtemp(directory.data()) == nullptr) {  // 0700
    return ErrnoError(errno, fmt::format("make {}", directory));
  }
  std::unique_ptr<GrpcServer> self(new GrpcServer(gate, directory));
  // Named through a descriptor: the path may be longer than a socket address holds.
  self->directory_fd_ = UniqueFd(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!self->directory_fd_) return ErrnoError(errno, fmt::format("open {}", directory));
  const std::string socket = fmt::format("/proc/self/fd/{}/socket", self->directory_fd_.get());
  self->server_ = Build({.max_request_bytes = options.max_request_bytes,
                         .memory_bytes = options.memory_bytes,
                         .max_concurrent_streams = 256,
                         .idle_limit = options.idle_limit},
                        services, "unix:" + socket);
  if (!self->server_) {
    return absl::InternalError(fmt::format("gRPC cannot listen on {}/socket", directory));
  }
  SetAllServing(*self->server_, true);
  KDBG_ASSIGN_OR_RETURN(self->listener_,
                        UnixListener::Start(options.addresses, socket, options.relay));
  if (options.tls) KDBG_RETURN_IF_ERROR(self->StartTls(options, socket));
  return self;
}

absl::Status GrpcServer::StartTls(const GrpcServerOptions& options,
                                  const std::filesystem::path& known) {
  const TlsOptions& tls = *options.tls;
  const std::filesystem::path strangers = known.parent_path() / "strangers";
  all_else_ = std::make_unique<AskWhoTheyAre>();
  strangers_server_ =
      Build(kForStrangers, {tls.enrollment}, "unix:" + strangers.native(), all_else_.get());
  if (!strangers_server_) {
    return absl::InternalError(
        fmt::format("gRPC cannot listen on {}/strangers", private_directory_.native()));
  }
  KDBG_ASSIGN_OR_RETURN(tls_listener_,
                        TlsListener::Start(tls.addresses, *tls.keys, *tls.users, *tls.book,
                                           {.known = known, .strangers = strangers}, tls.limits));
  return absl::OkStatus();
}

std::vector<int> GrpcServer::tls_ports() const {
  return tls_listener_ ? tls_listener_->ports() : std::vector<int>();
}

GrpcServer::GrpcServer(CallGate& gate, std::filesystem::path private_directory)
    : gate_(gate), private_directory_(std::move(private_directory)) {}

GrpcServer::~GrpcServer() {
  Shutdown(absl::ZeroDuration());
  server_.reset();  // removes its socket
  strangers_server_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(private_directory_, ignored);
}

void GrpcServer::SetServing(const std::string& service, bool serving) {
  if (!down_) server_->GetHealthCheckService()->SetServingStatus(service, serving);
}

void GrpcServer::Shutdown(absl::Duration grace) {
  if (down_.exchange(true)) return;
  if (server_) SetAllServing(*server_, false);
  if (listener_) listener_->StopAccepting();
  if (tls_listener_) tls_listener_->StopAccepting();
  gate_.Drain();
  const auto deadline = absl::ToChronoTime(absl::Now() + grace);
  if (server_) server_->Shutdown(deadline);
  if (strangers_server_) strangers_server_->Shutdown(deadline);
  listener_.reset();
  tls_listener_.reset();
}

}  // namespace kdbg::service
