// gRPC itself: the five services, health and reflection, on a private unix socket behind the relay.
//
// Order of the end: Drain the gate is part of Shutdown, so modules below may be destroyed once it
// returns.
#pragma once

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"
#include "server/service/call_gate.h"
#include "server/service/unix_listener.h"

namespace kdbg::service {

struct GrpcServerOptions {
  std::vector<UnixAddress> addresses;
  // This daemon's alone. gRPC's own socket goes into a fresh 0700 directory below it; those that
  // runs before left are removed.
  std::filesystem::path runtime_directory;
  RelayLimits relay;
  int max_request_bytes = 8 << 20;                    // 1 MiB of upload, 4 MiB of patches and some
  std::size_t memory_bytes = std::size_t{256} << 20;  // of all of gRPC's buffers
};

class GrpcServer {
 public:
  // Serving and healthy when this returns. The services and the gate outlive it.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const GrpcServerOptions& options, const std::vector<grpc::Service*>& services,
      CallGate& gate);
  ~GrpcServer();

  // NOT_SERVING first, then no new connections and calls, streams ended with UNAVAILABLE
  // (kDraining); calls that take longer than `grace` are cut. Returns when no call is left.
  // Idempotent.
  void Shutdown(absl::Duration grace);

 private:
  GrpcServer(CallGate& gate, std::filesystem::path private_directory);

  CallGate& gate_;
  const std::filesystem::path private_directory_;
  UniqueFd directory_fd_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<UnixListener> listener_;
  bool down_ = false;
};

}  // namespace kdbg::service
