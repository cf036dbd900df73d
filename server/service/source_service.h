// SourceService. The contract is in the .proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/source_service.grpc.pb.h"
#include "server/build/builds.h"
#include "server/build/trusted_builds.h"
#include "server/service/call_gate.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/source/trusted_sources.h"
#include "server/source/upload_store.h"

namespace kdbg::service {

class SourceServiceImpl final : public v1::SourceService::CallbackService {
 public:
  SourceServiceImpl(CallGate& gate, source::SourceCatalog& sources, source::UploadStore& uploads,
                    source::ObjectDatabase& objects, build::Builds& builds,
                    source::TrustedSources& trusted, build::TrustedBuilds& trusted_builds)
      : gate_(gate),
        sources_(sources),
        uploads_(uploads),
        objects_(objects),
        builds_(builds),
        trusted_(trusted),
        trusted_builds_(trusted_builds) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateUpload(Context* context, const v1::CreateUploadRequest* request,
                                         v1::Upload* response) override;
  grpc::ServerUnaryReactor* GetUpload(Context* context, const v1::GetUploadRequest* request,
                                      v1::Upload* response) override;
  grpc::ServerReadReactor<v1::WriteUploadRequest>* WriteUpload(Context* context,
                                                               v1::Upload* response) override;
  grpc::ServerUnaryReactor* QueryKnownObjects(Context* context,
                                              const v1::QueryKnownObjectsRequest* request,
                                              v1::QueryKnownObjectsResponse* response) override;
  grpc::ServerUnaryReactor* CreateSource(Context* context, const v1::CreateSourceRequest* request,
                                         v1::Source* response) override;
  grpc::ServerUnaryReactor* GetSource(Context* context, const v1::GetSourceRequest* request,
                                      v1::Source* response) override;
  grpc::ServerUnaryReactor* ListSources(Context* context, const v1::ListSourcesRequest* request,
                                        v1::ListSourcesResponse* response) override;
  grpc::ServerWriteReactor<v1::Source>* WatchSource(Context* context,
                                                    const v1::GetSourceRequest* request) override;
  grpc::ServerUnaryReactor* DeleteSource(Context* context, const v1::DeleteSourceRequest* request,
                                         google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* TrustSource(Context* context, const v1::TrustSourceRequest* request,
                                        v1::Source* response) override;
  grpc::ServerWriteReactor<v1::SourceFileChunk>* ReadSourceFiles(
      Context* context, const v1::ReadSourceFilesRequest* request) override;

 private:
  // Found, and the caller may do to it what the call does.
  absl::StatusOr<source::Upload> FindUpload(Call& call, const std::string& name);
  absl::StatusOr<source::SourceRecord> Find(Call& call, const std::string& name);
  absl::Status RefuseIfInUse(const source::SourceRecord& source);

  CallGate& gate_;
  source::SourceCatalog& sources_;
  source::UploadStore& uploads_;
  source::ObjectDatabase& objects_;
  build::Builds& builds_;
  source::TrustedSources& trusted_;
  build::TrustedBuilds& trusted_builds_;
};

}  // namespace kdbg::service
