// BuildService. The contract is in the .proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/statusor.h"
#include "kdbg/v1/build_service.grpc.pb.h"
#include "server/base/clock.h"
#include "server/build/builds.h"
#include "server/build/config_editor.h"
#include "server/service/call_gate.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"

namespace kdbg::service {

class BuildServiceImpl final : public v1::BuildService::CallbackService {
 public:
  BuildServiceImpl(CallGate& gate, build::Builds& builds, source::SourceCatalog& sources,
                   source::UploadStore& uploads, build::ConfigEditors& editors, const Clock& clock)
      : gate_(gate),
        builds_(builds),
        sources_(sources),
        uploads_(uploads),
        editors_(editors),
        clock_(clock) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateBuild(Context* context, const v1::CreateBuildRequest* request,
                                        v1::Build* response) override;
  grpc::ServerUnaryReactor* GetBuild(Context* context, const v1::GetBuildRequest* request,
                                     v1::Build* response) override;
  grpc::ServerUnaryReactor* ListBuilds(Context* context, const v1::ListBuildsRequest* request,
                                       v1::ListBuildsResponse* response) override;
  grpc::ServerWriteReactor<v1::Build>* WatchBuild(Context* context,
                                                  const v1::GetBuildRequest* request) override;
  grpc::ServerWriteReactor<v1::LogChunk>* ReadBuildLog(
      Context* context, const v1::ReadBuildLogRequest* request) override;
  grpc::ServerUnaryReactor* CancelBuild(Context* context, const v1::CancelBuildRequest* request,
                                        v1::Build* response) override;
  grpc::ServerUnaryReactor* DeleteBuild(Context* context, const v1::DeleteBuildRequest* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ShareBuild(Context* context, const v1::ShareBuildRequest* request,
                                       v1::Build* response) override;
  grpc::ServerBidiReactor<v1::ConfigureKernelRequest, v1::ConfigureKernelResponse>* ConfigureKernel(
      Context* context) override;

 private:
  // Found, and the caller may do to it what the call does.
  absl::StatusOr<build::BuildRecord> Find(Call& call, const std::string& name);
  absl::Status CheckSource(const Call& call, const std::string& id);
  absl::Status CheckInputs(const Call& call, build::BuildRequest* request);
  absl::Status CheckReader(const Call& call, const std::string& user, std::string_view field) const;
  absl::Status ForgetGrants(const build::BuildRecord& build);
  absl::Status Grant(const build::BuildRecord& build, const std::string& user);
  v1::Build Describe(const build::BuildRecord& build) const;

  CallGate& gate_;
  build::Builds& builds_;
  source::SourceCatalog& sources_;
  source::UploadStore& uploads_;
  build::ConfigEditors& editors_;
  const Clock& clock_;
};

}  // namespace kdbg::service
