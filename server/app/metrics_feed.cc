#include "server/app/metrics_feed.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "proto/support/status_macros.h"
#include "server/host/disk_space.h"
#include "server/service/rpc_table.h"

namespace kdbg::app {
namespace {

using observe::BuildResult;
using observe::Reading;

std::vector<std::string_view> Methods() {
  std::vector<std::string_view> methods;
  std::transform(std::begin(service::kRpcTable), std::end(service::kRpcTable),
                 std::back_inserter(methods),
                 [](const service::RpcRule& rule) { return rule.method; });
  return methods;
}

BuildResult ResultOf(const build::BuildRecord& build) {
  if (build.answered_from_store) return BuildResult::kAnswered;
  if (build.state == build::BuildState::kSucceeded) return BuildResult::kSucceeded;
  if (build.state == build::BuildState::kCancelled) return BuildResult::kCancelled;
  switch (build.failure ? build.failure->fault : build::Fault::kHost) {
    case build::Fault::kSubject:
      return BuildResult::kFailed;
    case build::Fault::kCaller:
      return BuildResult::kRefused;
    case build::Fault::kHost:
      break;
  }
  return BuildResult::kHostFailed;
}

std::string_view NameOf(session::Origin origin) {
  switch (origin) {
    case session::Origin::kCold:
      return "cold";
    case session::Origin::kCloned:
      return "cloned";
    case session::Origin::kWarm:
      return "warm";
    case session::Origin::kRestored:
      return "restored";
    case session::Origin::kUnknown:
      break;
  }
  return "unknown";
}

Reading::Flow FlowOf(std::string peer, std::string direction, const gdb::Flow& flow) {
  return {.peer = std::move(peer),
          .direction = std::move(direction),
          .bytes = flow.bytes.value(),
          .packets = flow.packets.value()};
}

}  // namespace

MetricsFeed::MetricsFeed(const Parts& parts)
    : parts_(parts),
      start_(parts.clock.Now()),
      metrics_(parts.version, Methods(), [this] { return Read(); }) {
  subscriptions_.push_back(parts_.gate.Subscribe([this](const service::CallReport& call) {
    if (call.part == service::CallReport::Part::kBeginning) return;
    std::optional<absl::Duration> took;
    if (!call.is_stream) took = call.took;
    metrics_.CountCall(call.rule.method, call.status.code(), took);
  }));
  subscriptions_.push_back(
      parts_.builds.SubscribeAll([this](const build::BuildRecord& build) { OnBuild(build); }));
  subscriptions_.push_back(parts_.sessions.SubscribeAll(
      [this](const session::SessionRecord& session) { OnSession(session); }));
}

absl::StatusOr<std::unique_ptr<MetricsFeed>> MetricsFeed::Start(const Parts& parts,
                                                                const std::string& address) {
  std::unique_ptr<MetricsFeed> feed(new MetricsFeed(parts));
  KDBG_ASSIGN_OR_RETURN(feed->listener_, observe::MetricsListener::Start(address, feed->metrics_));
  return feed;
}

void MetricsFeed::OnBuild(const build::BuildRecord& build) {
  if (!build::IsFinal(build.state)) return;
  const absl::Time end = build.end_time.value_or(build.create_time);
  const absl::Time begin = build.start_time.value_or(end);
  metrics_.CountBuild({.kind = build.kind() == build::BuildKind::kKernel ? "kernel" : "initramfs",
                       .result = ResultOf(build),
                       .waited = begin - build.create_time,
                       .took = end - begin,
                       .cache_hits = build.progress.cache_hits,
                       .cache_misses = build.progress.cache_misses});
}

void MetricsFeed::OnSession(const session::SessionRecord& session) {
  const bool ended = session::IsFinal(session.state) && session.end_time;
  if (ended) metrics_.CountEndedSession(absl::AsciiStrToLower(session.end_reason));
  absl::MutexLock lock(&mutex_);
  if (ended) {
    ready_.erase(session.id);
    return;
  }
  // One that an earlier daemon brought up is not counted again.
  if (!session.ready_time || *session.ready_time < start_) return;
  absl::Time& last = ready_[session.id];
  if (std::exchange(last, *session.ready_time) == *session.ready_time) return;
  metrics_.CountReadySession(NameOf(session.origin),
                             session.create_duration + session.boot_duration);
}

Reading MetricsFeed::Read() const {
  Reading reading;
  const build::BuildNumbers builds = parts_.builds.Count();
  reading.builds = {{"queued", builds.queued}, {"running", builds.running}};
  for (const auto& [state, count] : parts_.sessions.CountByState()) {
    reading.sessions[absl::AsciiStrToLower(std::string(session::ToString(state)))] = count;
  }
  for (const observe::PartState& part : parts_.health.Now()) {
    reading.parts[part.name] = part.status.ok();
  }
  const gdb::Traffic& traffic = parts_.io_thread.traffic();
  reading.gdb_flows = {FlowOf("client", "received", traffic.from_clients),
                       FlowOf("client", "sent", traffic.to_clients),
                       FlowOf("stub", "received", traffic.from_stubs),
                       FlowOf("stub", "sent", traffic.to_stubs)};
  reading.gdb_clients_attached = traffic.attached_clients.value();
  reading.gdb_clients_refused = traffic.refused_clients.value();
  if (const auto disk = host::DiskSpaceOf(parts_.state_directory); disk.ok()) {
    reading.disk_bytes = disk->total_bytes;
    reading.disk_free_bytes = disk->free_bytes;
  }
  if (const auto store = parts_.artifacts.Measure(); store.ok()) {
    reading.artifacts = store->artifacts;
    reading.store_blobs = store->blobs;
    reading.store_bytes = store->bytes;
  }
  reading.upload_bytes = parts_.uploads.received_bytes();
  return reading;
}

}  // namespace kdbg::app
