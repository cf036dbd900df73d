#include "client/commands/info.h"

#include <fmt/format.h>

#include "client/commands/lookup.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

std::string Draining(const v1::ServerInfo& info) {
  if (!info.draining()) return "";
  return fmt::format(", draining: takes nothing new{}{}", info.drain_reason().empty() ? "" : ": ",
                     info.drain_reason());
}

// In one line when all is well, else a line for each part that is not.
void AddParts(const v1::ServerInfo& info, Details* details) {
  std::string working;
  for (const v1::PartInfo& part : info.parts()) {
    if (!part.works()) {
      details->emplace_back(fmt::format("BROKEN {}", part.name()), part.detail());
    } else {
      working += fmt::format("{}{}", working.empty() ? "" : ", ", part.name());
    }
  }
  if (!working.empty()) details->emplace_back("Working", working);
}

Details Describe(const v1::ServerInfo& info, const std::string& address) {
  Details details = {
      {"Server", fmt::format("{}  ({})", address, info.host_name())},
      {"Version", info.version()},
      {"You are", fmt::format("{} ({})", info.user(), info.role())},
      {"Up", fmt::format("{}{}", Elapsed(ToDuration(info.uptime())), Draining(info))}};
  AddParts(info, &details);
  for (const v1::AcceleratorInfo& accelerator : info.accelerators()) {
    details.emplace_back(
        fmt::format("Accelerator {}", accelerator.name()),
        fmt::format("{}{}{}", accelerator.usable() ? "usable" : "not usable",
                    accelerator.reason().empty() ? "" : ": ", accelerator.reason()));
  }
  std::string architectures;
  for (const int architecture : info.architectures()) {
    architectures += fmt::format("{}{}", architectures.empty() ? "" : ", ",
                                 ArchitectureName(static_cast<v1::Architecture>(architecture)));
  }
  const v1::HostCapacity& host = info.capacity();
  details.insert(
      details.end(),
      {{"Architectures", architectures},
       {"Host",
        fmt::format("{} CPUs, {} of {} MiB memory available, {} disk free", host.cpu_count(),
                    host.memory_available_mib(), host.memory_mib(), Bytes(host.disk_free_bytes()))},
       {"Builds",
        fmt::format("{} running, {} queued; {} at a time, make -j{} each", info.builds_running(),
                    info.builds_queued(), host.parallel_builds(), host.build_jobs())},
       {"Sessions",
        fmt::format("{} active; at most {} MiB and {} CPUs each, ports {} to {}, {} up to {}",
                    info.sessions_active(), info.session_limits().maximum_memory_mib(),
                    info.session_limits().maximum_vcpu_count(), info.session_limits().first_port(),
                    info.session_limits().last_port(),
                    Elapsed(ToDuration(info.session_limits().default_ttl())),
                    Elapsed(ToDuration(info.session_limits().maximum_ttl())))},
       {"libvirt", info.libvirt_uri()},
       {"State", info.state_directory()}});
  for (const v1::LimitInfo& limit : info.limits()) {
    details.emplace_back(fmt::format("Limit {}", limit.name()),
                         fmt::format("{}{}{}{}{}", limit.holds() ? "holds" : "does not hold",
                                     limit.mechanism().empty() ? "" : " by ", limit.mechanism(),
                                     limit.detail().empty() ? "" : ": ", limit.detail()));
  }
  return details;
}

}  // namespace

CommandEnd Info(Context& context) {
  KDBG_ASSIGN_OR_RETURN(const v1::ServerInfo info,
                        context.Call<v1::ServerService>(&v1::ServerService::Stub::GetServerInfo,
                                                        v1::GetServerInfoRequest()));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  context.output().Resource(info, info.host_name(), Describe(info, ToString(server->address())));
  return kExitDone;
}

}  // namespace kdbg::client
