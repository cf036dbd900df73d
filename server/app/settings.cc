#include "server/app/settings.h"

#include <algorithm>
#include <string>
#include <thread>

#include "proto/support/status_macros.h"

namespace kdbg::app {

int Processors() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

session::SessionLimits LimitsFrom(const config::Session& settings, std::int64_t host_memory_bytes) {
  session::SessionLimits limits;
  limits.default_ttl = settings.default_ttl;
  limits.maximum_ttl = settings.maximum_ttl;
  limits.boot_timeout = settings.boot_timeout;
  limits.maximum_memory_mib =
      settings.maximum_memory_mib != 0 ? settings.maximum_memory_mib : host_memory_bytes / kMib / 2;
  limits.maximum_vcpu_count = settings.maximum_vcpus != 0 ? settings.maximum_vcpus : Processors();
  limits.quota.host = {.sessions = settings.maximum_sessions,
                       .vcpus = settings.total_vcpus,
                       .memory_mib = settings.total_memory_mib != 0
                                         ? settings.total_memory_mib
                                         : host_memory_bytes / kMib * 3 / 4};
  limits.quota.user = {.sessions = settings.user_sessions,
                       .vcpus = settings.user_vcpus,
                       .memory_mib = settings.user_memory_mib};
  limits.template_memory_mib = settings.template_memory_mib;
  limits.warm_memory_mib = settings.warm_memory_mib;
  limits.gdb_host = settings.gdb_host;
  limits.gdb_peers = settings.gdb_peers;
  limits.disk_images = settings.disk_images;
  limits.first_port = settings.first_port;
  limits.last_port = settings.last_port;
  return limits;
}

build::BuildSettings BuildSettingsFrom(const config::Build& settings, const Paths& paths) {
  return {.logs_directory = paths.logs,
          .index_directory = paths.gdb_indexes,
          .parallel = settings.parallel,
          .jobs = settings.jobs,
          .queue_limit = settings.queue_limit,
          .memory_limit_bytes = settings.memory_limit_mib * kMib,
          .process_limit = settings.process_limit,
          .time_limit = settings.time_limit,
          .ccache_limit_mib = settings.ccache_limit_mib,
          .free_space_floor_bytes = settings.free_space_floor_mib * kMib};
}

std::int64_t BytesOrThird(std::int64_t limit_mib, std::int64_t disk_bytes) {
  return limit_mib > 0 ? limit_mib * kMib : disk_bytes / 3;
}

absl::StatusOr<Remotes> TrustedRemotesFrom(const config::Build& settings) {
  Remotes remotes;
  for (const std::string& text : settings.trusted_remotes) {
    KDBG_ASSIGN_OR_RETURN(remotes.emplace_back(), build::TrustedRemote::Parse(text));
  }
  return remotes;
}

}  // namespace kdbg::app
