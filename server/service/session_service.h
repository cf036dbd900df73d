// SessionService. The contract is in the .proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/session_service.grpc.pb.h"
#include "server/build/builds.h"
#include "server/service/call_gate.h"
#include "server/service/console_streams.h"
#include "server/service/standing_right.h"
#include "server/session/sessions.h"
#include "server/source/upload_store.h"

namespace kdbg::service {

class SessionServiceImpl final : public v1::SessionService::CallbackService {
 public:
  SessionServiceImpl(CallGate& gate, session::Sessions& sessions, build::Builds& builds,
                     const source::UploadStore& uploads, const store::ArtifactStore& artifacts,
                     const store::BlobStore& blobs)
      : gate_(gate),
        sessions_(sessions),
        builds_(builds),
        uploads_(uploads),
        artifacts_(artifacts),
        blobs_(blobs) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateSession(Context* context, const v1::CreateSessionRequest* request,
                                          v1::Session* response) override;
  grpc::ServerUnaryReactor* GetSession(Context* context, const v1::GetSessionRequest* request,
                                       v1::Session* response) override;
  grpc::ServerUnaryReactor* ListSessions(Context* context, const v1::ListSessionsRequest* request,
                                         v1::ListSessionsResponse* response) override;
  grpc::ServerWriteReactor<v1::Session>* WatchSession(
      Context* context, const v1::GetSessionRequest* request) override;
  grpc::ServerUnaryReactor* DeleteSession(Context* context, const v1::DeleteSessionRequest* request,
                                          google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* RenewSession(Context* context, const v1::RenewSessionRequest* request,
                                         v1::Session* response) override;
  grpc::ServerUnaryReactor* PauseSession(Context* context, const v1::PauseSessionRequest* request,
                                         v1::Session* response) override;
  grpc::ServerUnaryReactor* ResumeSession(Context* context, const v1::ResumeSessionRequest* request,
                                          v1::Session* response) override;
  grpc::ServerUnaryReactor* ResetSession(Context* context, const v1::ResetSessionRequest* request,
                                         v1::Session* response) override;
  grpc::ServerUnaryReactor* SaveSession(Context* context, const v1::SaveSessionRequest* request,
                                        v1::Artifact* response) override;
  grpc::ServerUnaryReactor* RestoreSession(Context* context,
                                           const v1::RestoreSessionRequest* request,
                                           v1::Session* response) override;
  grpc::ServerUnaryReactor* DumpSession(Context* context, const v1::DumpSessionRequest* request,
                                        v1::Artifact* response) override;
  grpc::ServerUnaryReactor* ShareSession(Context* context, const v1::ShareSessionRequest* request,
                                         v1::Session* response) override;
  grpc::ServerWriteReactor<v1::ConsoleChunk>* ReadConsole(
      Context* context, const v1::ReadConsoleRequest* request) override;
  grpc::ServerBidiReactor<v1::AttachConsoleRequest, v1::ConsoleChunk>* AttachConsole(
      Context* context) override;
  grpc::ServerBidiReactor<v1::GdbClientFrame, v1::GdbServerFrame>* AttachGdb(
      Context* context) override;

 private:
  // Found, and the caller may do to it what the call does.
  absl::StatusOr<session::SessionRecord> Find(Call& call, const std::string& name);
  // For a stream of `call`, which outlives it, about a session that Find has found.
  StandingRight RightTo(Call& call, const std::string& id, Waker waker);
  absl::Status CheckInputs(const Call& call, const store::Artifact& saved) const;
  absl::Status Restore(Call& call, const v1::RestoreSessionRequest& request, v1::Session* response);
  absl::Status Create(Call& call, const v1::CreateSessionRequest& request, v1::Session* response);
  absl::Status ChooseBuilds(const Call& call, const v1::Session& wanted,
                            session::SessionRequest* request) const;
  absl::Status CheckFolder(const Call& call, const std::string& upload) const;
  absl::StatusOr<build::BuildRecord> ChooseBuild(const Call& call, const std::string& name,
                                                 build::BuildKind kind,
                                                 std::optional<Architecture> architecture) const;

  CallGate& gate_;
  session::Sessions& sessions_;
  build::Builds& builds_;
  const source::UploadStore& uploads_;
  const store::ArtifactStore& artifacts_;
  const store::BlobStore& blobs_;
  ConsoleSeats console_seats_;
};

}  // namespace kdbg::service
