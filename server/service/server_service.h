// ServerService. The contract is in the .proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "kdbg/v1/server_service.grpc.pb.h"
#include "server/base/clock.h"
#include "server/build/builds.h"
#include "server/host/sandbox.h"
#include "server/observe/health.h"
#include "server/service/call_gate.h"
#include "server/session/sessions.h"

namespace kdbg::service {

struct AcceleratorFact {
  std::string name;  // "kvm", "tcg"
  bool usable = false;
  std::string reason;
};

// What was found out at start and does not change.
struct ServerFacts {
  std::string version;
  std::vector<AcceleratorFact> accelerators;
  std::vector<host::LimitReport> limits;  // sandbox, memory, processes, guest uid, ...
  std::string libvirt_uri;
  std::filesystem::path state_directory;
  int build_jobs = 0;
  int parallel_builds = 0;
};

class ServerServiceImpl final : public v1::ServerService::CallbackService {
 public:
  ServerServiceImpl(CallGate& gate, ServerFacts facts, build::Builds& builds,
                    session::Sessions& sessions, const observe::Health& health, const Clock& clock);

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* GetServerInfo(Context* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;
  grpc::ServerWriteReactor<v1::Activity>* WatchActivity(
      Context* context, const v1::WatchActivityRequest* request) override;
  grpc::ServerUnaryReactor* Drain(Context* context, const v1::DrainRequest* request,
                                  v1::DrainReport* response) override;
  grpc::ServerUnaryReactor* Undrain(Context* context, const v1::UndrainRequest* request,
                                    v1::DrainReport* response) override;

 private:
  void SetCapacity(v1::HostCapacity* capacity) const;
  void SetSessionLimits(v1::SessionLimits* limits) const;
  absl::StatusOr<std::vector<build::BuildRecord>> UnfinishedBuilds() const;
  absl::Status FillActivity(const Call& call, v1::Activity* activity) const;
  absl::Status ReportDrain(v1::DrainReport* report) const;

  CallGate& gate_;
  absl::Mutex drain_mutex_;  // so that the last one counts in all it does
  const ServerFacts facts_;
  build::Builds& builds_;
  session::Sessions& sessions_;
  const observe::Health& health_;
  const Clock& clock_;
  const absl::Duration start_;
};

}  // namespace kdbg::service
