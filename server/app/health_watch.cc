#include "server/app/health_watch.h"

#include <fmt/format.h>

#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/host/disk_space.h"
#include "server/observe/log.h"

namespace kdbg::app {
namespace {

constexpr absl::Duration kPeriod = absl::Seconds(15);
constexpr char kBuilds[] = "kdbg.v1.BuildService";
constexpr char kSessions[] = "kdbg.v1.SessionService";

absl::Status CheckDisk(const std::filesystem::path& directory, std::int64_t floor_bytes) {
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(directory));
  if (disk.free_bytes >= floor_bytes) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
      fmt::format("{} MiB are free at {}, and below {} (build.free_space_floor_mib) no "
                  "build is begun: delete artifacts (kdbgctl artifact prune) or give "
                  "it a larger disk",
                  disk.free_bytes >> 20, directory.native(), floor_bytes >> 20));
}

}  // namespace

HealthWatch::HealthWatch(const Parts& parts)
    : parts_(parts),
      tools_(parts.runner, parts.run_as),
      health_({{"guests", kSessions, [this] { return parts_.hypervisor.Health(); }},
               {"sandbox", kBuilds, [this] { return tools_.sandbox(); }},
               {"compiler cache", kBuilds, [this] { return tools_.compile_cache(); }},
               {"disk", kBuilds, [this] {
                  return CheckDisk(parts_.state_directory, parts_.free_space_floor_bytes);
                }}}) {
  tools_.Look();
}

Chore HealthWatch::LookAndTell(service::GrpcServer& server) {
  return {
      .name = "a look at what works", .period = kPeriod, .run = [this, &server](std::stop_token) {
        Look(server);
        return absl::OkStatus();
      }};
}

void HealthWatch::Look(service::GrpcServer& server) {
  tools_.Look();
  std::map<std::string, bool> serving;
  for (const observe::PartState& part : health_.Now()) {
    const bool works = part.status.ok();
    serving.try_emplace(part.service, true).first->second &= works;
    const bool worked = std::exchange(worked_.try_emplace(part.name, true).first->second, works);
    if (worked && !works) spdlog::error("{}: {}", part.name, std::string(part.status.message()));
    if (!worked && works) spdlog::info("{}: works again", part.name);
  }
  for (const auto& [service, works] : serving) server.SetServing(service, works);
}

}  // namespace kdbg::app
