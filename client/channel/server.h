// The kdbgd at the other end: stubs, calls with deadlines, and getting it back when it went away.
// Calls may come from any thread; Reconnect only while no call is under way.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/channel/server_address.h"
#include "client/channel/ssh_link.h"
#include "client/channel/tls_identity.h"
#include "kdbg/v1/artifact_service.grpc.pb.h"
#include "kdbg/v1/build_service.grpc.pb.h"
#include "kdbg/v1/server_service.grpc.pb.h"
#include "kdbg/v1/session_service.grpc.pb.h"
#include "kdbg/v1/source_service.grpc.pb.h"
#include "kdbg/v1/user_service.grpc.pb.h"

namespace kdbg::client {

inline constexpr absl::Duration kUnaryDeadline = absl::Seconds(30);
// Of one that copies a guest's memory, perhaps after others.
inline constexpr absl::Duration kCopyDeadline = absl::Hours(1);

class Server {
 public:
  static absl::StatusOr<std::unique_ptr<Server>> Connect(const ServerAddress& address);

  const ServerAddress& address() const { return address_; }
  // The daemon is a process of this host and its files may be readable here.
  bool on_this_host() const { return std::holds_alternative<UnixAddress>(address_); }

  template <typename Service>
  typename Service::Stub& stub() {
    return *std::get<std::unique_ptr<typename Service::Stub>>(stubs_);
  }

  // server.Call<v1::BuildService>(&v1::BuildService::Stub::GetBuild, request)
  template <typename Service, typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                                const Request& request, absl::Duration deadline = kUnaryDeadline) {
    grpc::ClientContext context;
    SetDeadline(context, deadline);
    Response response;
    const grpc::Status status = (stub<Service>().*method)(&context, request, &response);
    if (!status.ok()) return Translate(status);
    return response;
  }

  static void SetDeadline(grpc::ClientContext& context, absl::Duration deadline);

  // The call's status with its reason; a lost connection is told in words a user can act on.
  absl::Status Translate(const grpc::Status& status);

  // Begins to connect, so that the first call finds it done; does not block.
  void ConnectAhead() { (void)channel_->GetState(/*try_to_connect=*/true); }

  // After UNAVAILABLE: blocks until the server can be called again, at most `patience`; whether it
  // can.
  bool Reconnect(absl::Duration patience);

 private:
  explicit Server(ServerAddress address) : address_(std::move(address)) {}
  absl::Status Open();
  // A certificate that wears out is replaced in good time. One that cannot be is good a while yet.
  void RenewIfDue();

  ServerAddress address_;
  std::optional<TlsIdentity> identity_;  // for TLS
  std::unique_ptr<SshLink> ssh_;
  std::shared_ptr<grpc::Channel> channel_;
  std::tuple<std::unique_ptr<v1::ServerService::Stub>, std::unique_ptr<v1::SourceService::Stub>,
             std::unique_ptr<v1::BuildService::Stub>, std::unique_ptr<v1::ArtifactService::Stub>,
             std::unique_ptr<v1::SessionService::Stub>, std::unique_ptr<v1::UserService::Stub>>
      stubs_;
};

}  // namespace kdbg::client
