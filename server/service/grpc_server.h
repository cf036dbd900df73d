// gRPC itself: the services, health and reflection, on private unix sockets behind the relays. With
// TLS there is a second, small one for callers without a certificate: what they send never meets
// the memory and the messages of the others.
//
// Order of the end: Drain the gate is part of Shutdown, so modules below may be destroyed once it
// returns.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"
#include "server/access/tls_keys.h"
#include "server/config/config.h"
#include "server/service/call_gate.h"
#include "server/service/connection_book.h"
#include "server/service/tls_listener.h"
#include "server/service/unix_listener.h"

namespace kdbg::service {

// All of it outlives the server.
struct TlsOptions {
  std::vector<config::TcpAddress> addresses;
  const access::TlsKeys* keys = nullptr;
  ConnectionBook* book = nullptr;
  const access::EnrolledUsers* users = nullptr;
  grpc::Service* enrollment = nullptr;  // for callers without a certificate
  TlsLimits limits = {};
};

struct GrpcServerOptions {
  std::vector<UnixAddress> addresses;
  std::optional<TlsOptions> tls;
  // This daemon's alone. gRPC's own socket goes into a fresh 0700 directory below it; those that
  // runs before left are removed.
  std::filesystem::path runtime_directory;
  RelayLimits relay;
  int max_request_bytes = 8 << 20;                    // 1 MiB of upload, 4 MiB of patches and some
  std::size_t memory_bytes = std::size_t{256} << 20;  // of all of gRPC's buffers
  absl::Duration idle_limit = absl::Hours(1);         // of a connection without a call; then cut
};

class GrpcServer {
 public:
  // Serving and healthy when this returns. The services and the gate outlive it.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, const std::vector<grpc::Service*>& services,
      CallGate& gate);
  ~GrpcServer();

  // In the order of the addresses of TLS.
  std::vector<int> tls_ports() const;

  // What grpc.health says of one service ("kdbg.v1.BuildService"); the server as a whole serves for
  // as long as it runs. Thread-safe.
  void SetServing(const std::string& service, bool serving);

  // NOT_SERVING first, then no new connections and calls, streams ended with UNAVAILABLE
  // (kDraining); calls that take longer than `grace` are cut. Returns when no call is left.
  // Idempotent.
  void Shutdown(absl::Duration grace);

 private:
  GrpcServer(CallGate& gate, std::filesystem::path private_directory);
  absl::Status StartTls(const GrpcServerOptions& options, const std::filesystem::path& known);

  CallGate& gate_;
  const std::filesystem::path private_directory_;
  UniqueFd directory_fd_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::CallbackGenericService> all_else_;  // that strangers ask for
  std::unique_ptr<grpc::Server> strangers_server_;
  std::unique_ptr<UnixListener> listener_;
  std::unique_ptr<TlsListener> tls_listener_;
  std::atomic<bool> down_ = false;
};

}  // namespace kdbg::service
