// ArtifactService. The contract is in the .proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/artifact_service.grpc.pb.h"
#include "server/service/call_gate.h"
#include "server/state/database.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"
#include "server/store/retention.h"

namespace kdbg::service {

class ArtifactServiceImpl final : public v1::ArtifactService::CallbackService {
 public:
  ArtifactServiceImpl(CallGate& gate, store::ArtifactStore& artifacts, store::BlobStore& blobs,
                      state::Database& database, store::Retention& retention)
      : gate_(gate),
        artifacts_(artifacts),
        blobs_(blobs),
        database_(database),
        retention_(retention) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* GetArtifact(Context* context, const v1::GetArtifactRequest* request,
                                        v1::Artifact* response) override;
  grpc::ServerUnaryReactor* ListArtifacts(Context* context, const v1::ListArtifactsRequest* request,
                                          v1::ListArtifactsResponse* response) override;
  grpc::ServerWriteReactor<v1::ArtifactFileChunk>* ReadArtifactFile(
      Context* context, const v1::ReadArtifactFileRequest* request) override;
  grpc::ServerUnaryReactor* PinArtifact(Context* context, const v1::PinArtifactRequest* request,
                                        v1::Artifact* response) override;
  grpc::ServerUnaryReactor* UnpinArtifact(Context* context, const v1::UnpinArtifactRequest* request,
                                          v1::Artifact* response) override;
  grpc::ServerUnaryReactor* PruneArtifacts(Context* context,
                                           const v1::PruneArtifactsRequest* request,
                                           v1::PruneArtifactsResponse* response) override;
  grpc::ServerUnaryReactor* DeleteArtifact(Context* context,
                                           const v1::DeleteArtifactRequest* request,
                                           google::protobuf::Empty* response) override;

 private:
  // Found, and the caller may do to it what the call does.
  absl::StatusOr<store::Artifact> Find(Call& call, const std::string& name);
  // A file of these bytes that the caller may read.
  absl::StatusOr<std::optional<store::ArtifactFile>> FindBase(const Call& call,
                                                              const std::string& digest) const;

  CallGate& gate_;
  store::ArtifactStore& artifacts_;
  store::BlobStore& blobs_;
  state::Database& database_;
  store::Retention& retention_;
};

}  // namespace kdbg::service
