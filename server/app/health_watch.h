// Looks whether the parts of the daemon work, and tells whoever asks gRPC for its health. A part of
// the composition root of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "server/app/housekeeping.h"
#include "server/build/tool_check.h"
#include "server/observe/health.h"
#include "server/service/grpc_server.h"
#include "server/vm/hypervisor.h"

namespace kdbg::app {

class HealthWatch {
 public:
  // All of it outlives the watch.
  struct Parts {
    const vm::Hypervisor& hypervisor;
    host::SandboxRunner& runner;
    build::ToolCheck::RunAs run_as;
    std::filesystem::path state_directory;
    std::int64_t free_space_floor_bytes = 0;  // with less on the disk no build is begun
  };
  // Has looked once when this returns.
  explicit HealthWatch(const Parts& parts);

  const observe::Health& health() const { return health_; }

  // To be run on a thread of its own, as other chores may take long, which ends before `server`.
  Chore LookAndTell(service::GrpcServer& server);

 private:
  void Look(service::GrpcServer& server);

  const Parts parts_;
  build::ToolCheck tools_;
  const observe::Health health_;
  std::map<std::string, bool> worked_;  // by part; of the chore
};

}  // namespace kdbg::app
