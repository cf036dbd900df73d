#include "server/service/server_service.h"

#include <fmt/format.h>
#include <limits.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "proto/contract/architecture.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/build/toolchain.h"
#include "server/host/disk_space.h"
#include "server/host/emulator.h"
#include "server/host/memory.h"
#include "server/service/convert_build.h"
#include "server/service/convert_common.h"
#include "server/service/convert_session.h"
#include "server/service/resources.h"
#include "server/service/snapshot_feed.h"
#include "server/service/unary.h"

namespace kdbg::service {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr int kMostReported = 1000;
constexpr int kMostWatched = 200;
constexpr std::size_t kLongestReason = 200;

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

}  // namespace

ServerServiceImpl::ServerServiceImpl(CallGate& gate, ServerFacts facts, build::Builds& builds,
                                     session::Sessions& sessions, const observe::Health& health,
                                     const Clock& clock)
    : gate_(gate),
      facts_(std::move(facts)),
      builds_(builds),
      sessions_(sessions),
      health_(health),
      clock_(clock),
      start_(clock.Monotonic()) {}

void ServerServiceImpl::SetCapacity(v1::HostCapacity* capacity) const {
  capacity->set_cpu_count(static_cast<int>(std::thread::hardware_concurrency()));
  if (const auto memory = host::ReadHostMemory(); memory.ok()) {
    capacity->set_memory_mib(memory->total_bytes / kMiB);
    capacity->set_memory_available_mib(memory->available_bytes / kMiB);
  }
  if (const auto disk = host::DiskSpaceOf(facts_.state_directory); disk.ok()) {
    capacity->set_disk_free_bytes(disk->free_bytes);
  }
  capacity->set_build_jobs(facts_.build_jobs);
  capacity->set_parallel_builds(facts_.parallel_builds);
}

void ServerServiceImpl::SetSessionLimits(v1::SessionLimits* limits) const {
  const session::SessionLimits& from = sessions_.limits();
  Set(from.default_ttl, limits->mutable_default_ttl());
  Set(from.maximum_ttl, limits->mutable_maximum_ttl());
  limits->set_maximum_memory_mib(from.maximum_memory_mib);
  limits->set_maximum_vcpu_count(from.maximum_vcpu_count);
  limits->set_first_port(from.first_port);
  limits->set_last_port(from.last_port);
}

absl::StatusOr<std::vector<build::BuildRecord>> ServerServiceImpl::UnfinishedBuilds() const {
  build::Builds::ListQuery query;
  query.unfinished = true;
  query.limit = kMostReported;
  return builds_.List(query);
}

grpc::ServerUnaryReactor* ServerServiceImpl::GetServerInfo(Context* context,
                                                           const v1::GetServerInfoRequest*,
                                                           v1::ServerInfo* response) {
  return RunUnary(gate_, context, Rpc("ServerService/GetServerInfo"), [this, response](Call& call) {
    KDBG_RETURN_IF_ERROR(call.CheckCollection());
    response->set_version(facts_.version);
    response->set_host_name(ValidUtf8(HostName()));
    response->set_user(ValidUtf8(call.user()));
    response->set_role(std::string(access::RoleName(call.principal().role)));
    for (const AcceleratorFact& fact : facts_.accelerators) {
      v1::AcceleratorInfo* info = response->add_accelerators();
      info->set_name(fact.name);
      info->set_usable(fact.usable);
      info->set_reason(ValidUtf8(fact.reason));
    }
    for (const ArchitectureTraits& traits : Architectures()) {
      if (build::FindToolchain(traits.architecture, build::Target::kKernel).ok() &&
          host::CheckEmulator(traits.architecture).ok()) {
        response->add_architectures(ToMessage(traits.architecture));
      }
    }
    SetCapacity(response->mutable_capacity());
    for (const host::LimitReport& limit : facts_.limits) {
      v1::LimitInfo* info = response->add_limits();
      info->set_name(limit.name);
      info->set_holds(limit.holds);
      info->set_mechanism(limit.mechanism);
      info->set_detail(ValidUtf8(limit.detail));
    }
    for (const observe::PartState& part : health_.Now()) {
      v1::PartInfo* info = response->add_parts();
      info->set_name(part.name);
      info->set_works(part.status.ok());
      info->set_detail(ValidUtf8(std::string(part.status.message())));
    }
    SetSessionLimits(response->mutable_session_limits());
    response->set_libvirt_uri(facts_.libvirt_uri);
    response->set_state_directory(facts_.state_directory.native());
    Set(clock_.Monotonic() - start_, response->mutable_uptime());
    const std::optional<std::string> closed = gate_.closed();
    response->set_draining(closed.has_value());
    response->set_drain_reason(closed.value_or(""));
    response->set_sessions_active(sessions_.active());
    const build::BuildNumbers builds = builds_.Count();
    response->set_builds_running(builds.running);
    response->set_builds_queued(builds.queued);
    return absl::OkStatus();
  });
}

absl::Status ServerServiceImpl::FillActivity(const Call& call, v1::Activity* activity) const {
  build::Builds::ListQuery query;
  query.unfinished = true;
  query.limit = kMostWatched;
  if (call.principal().role != access::Role::kAdmin) {
    query.owner = call.user();
    query.include_shared = true;
    query.granted = GrantedIds(gate_.grants(), call.user(), kBuilds);
  }
  KDBG_ASSIGN_OR_RETURN(const auto builds, builds_.List(query));
  for (const build::BuildRecord& build : builds) {
    if (!build::IsFinal(build.state)) *activity->add_builds() = ToMessage(build, clock_.Now());
  }
  session::Sessions::ListQuery all;
  all.limit = kMostWatched;
  for (const session::SessionRecord& session : sessions_.List(all)) {
    if (session::IsFinal(session.state)) continue;
    *activity->add_sessions() = call.MaySee(ResourceOf(session, call.user()))
                                    ? ToMessage(session)
                                    : ToStrangersMessage(session);
  }
  const build::BuildNumbers numbers = builds_.Count();
  activity->set_builds_running(numbers.running);
  activity->set_builds_queued(numbers.queued);
  activity->set_draining(gate_.closed().has_value());
  return absl::OkStatus();
}

grpc::ServerWriteReactor<v1::Activity>* ServerServiceImpl::WatchActivity(
    Context* context, const v1::WatchActivityRequest* request) {
  return WriteStream<v1::Activity>::Start(
      gate_, context, Rpc("ServerService/WatchActivity"),
      [this, follow = request->follow()](
          Call& call, Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::Activity>>> {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        const auto flag = std::make_shared<ChangeFlag>(std::move(waker));
        auto builds = builds_.SubscribeAll([flag](const build::BuildRecord&) { flag->Raise(); });
        const auto sessions = std::make_shared<Subscription>(
            sessions_.SubscribeAll([flag](const session::SessionRecord&) { flag->Raise(); }));
        const auto load = [this, follow, call, sessions](v1::Activity* next) {
          absl::Status filled = FillActivity(call, next);
          return filled.ok() ? absl::StatusOr<bool>(!follow) : std::move(filled);
        };
        return std::make_unique<SnapshotFeed<v1::Activity>>(flag, std::move(builds), load);
      });
}

absl::Status ServerServiceImpl::ReportDrain(v1::DrainReport* report) const {
  report->set_draining(gate_.closed().has_value());
  KDBG_ASSIGN_OR_RETURN(const auto builds, UnfinishedBuilds());
  for (const build::BuildRecord& build : builds) {
    if (!build::IsFinal(build.state)) *report->add_builds() = ToMessage(build, clock_.Now());
  }
  session::Sessions::ListQuery query;
  query.limit = kMostReported;
  for (const session::SessionRecord& session : sessions_.List(query)) {
    *report->add_sessions() = ToMessage(session);
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ServerServiceImpl::Drain(Context* context,
                                                   const v1::DrainRequest* request,
                                                   v1::DrainReport* response) {
  return RunUnary(
      gate_, context, Rpc("ServerService/Drain"), [this, request, response](Call& call) {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        if (request->reason().size() > kLongestReason) {
          return InvalidField("reason", std::to_string(request->reason().size()),
                              fmt::format("a reason of more than {} characters is not taken: be "
                                          "brief",
                                          kLongestReason));
        }
        absl::MutexLock lock(&drain_mutex_);
        gate_.SetClosed(request->reason());
        sessions_.SetHeld(true);
        builds_.SetHeld(request->running() == v1::DrainRequest::REQUEUE);
        return ReportDrain(response);
      });
}

grpc::ServerUnaryReactor* ServerServiceImpl::Undrain(Context* context, const v1::UndrainRequest*,
                                                     v1::DrainReport* response) {
  return RunUnary(gate_, context, Rpc("ServerService/Undrain"), [this, response](Call& call) {
    KDBG_RETURN_IF_ERROR(call.CheckCollection());
    absl::MutexLock lock(&drain_mutex_);
    sessions_.SetHeld(false);
    builds_.SetHeld(false);
    gate_.SetClosed(std::nullopt);
    return ReportDrain(response);
  });
}

}  // namespace kdbg::service
