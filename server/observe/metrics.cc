#include "server/observe/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <initializer_list>
#include <iterator>
#include <utility>
#include <vector>

namespace kdbg::observe {
namespace {

using prometheus::ClientMetric;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::map<std::string, std::string>;
using Buckets = Histogram::BucketBoundaries;

constexpr std::string_view kBuildKinds[] = {"kernel", "initramfs"};
constexpr std::string_view kBuildResults[] = {"succeeded", "answered",    "failed",
                                              "refused",   "host_failed", "cancelled"};
constexpr std::string_view kOrigins[] = {"cold", "cloned", "warm", "restored"};
constexpr std::string_view kEndReasons[] = {"deleted", "expired", "guest_exited", "vm_lost",
                                            "failed"};

// In seconds.
const Buckets kCallBuckets = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60};
const Buckets kBuildBuckets = {1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600};
const Buckets kReadyBuckets = {0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 180};

std::string Text(std::string_view text) { return std::string(text); }

std::string CodeName(absl::StatusCode code) { return absl::StatusCodeToString(code); }

// One family of a scrape; a value is added by each Add.
class Scraped {
 public:
  Scraped(MetricType type, std::string_view name, std::string_view help) {
    family_.type = type;
    family_.name = name;
    family_.help = help;
  }

  Scraped& Add(double value, std::initializer_list<ClientMetric::Label> labels = {}) {
    ClientMetric& metric = family_.metric.emplace_back();
    metric.label = labels;
    (family_.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    return *this;
  }
  template <typename Value>
  Scraped& Add(const std::optional<Value>& value) {
    return value ? Add(static_cast<double>(*value)) : *this;
  }
  template <typename Value>
  Scraped& Add(const std::map<std::string, Value>& values, const std::string& label) {
    for (const auto& [name, value] : values) Add(static_cast<double>(value), {{label, name}});
    return *this;
  }

  void MoveTo(std::vector<MetricFamily>* families) {
    if (!family_.metric.empty()) families->push_back(std::move(family_));
  }

 private:
  MetricFamily family_;
};

std::vector<MetricFamily> ToFamilies(const Reading& reading) {
  constexpr MetricType kGauge = MetricType::Gauge;
  constexpr MetricType kCounter = MetricType::Counter;
  std::vector<MetricFamily> families;
  const auto add = [&](Scraped& family) { family.MoveTo(&families); };
  add(Scraped(kGauge, "kdbgd_builds", "Builds that have not ended, by state")
          .Add(reading.builds, "state"));
  add(Scraped(kGauge, "kdbgd_sessions", "Sessions that have not ended, by state")
          .Add(reading.sessions, "state"));

  add(Scraped(kGauge, "kdbgd_part_up", "Whether a part of the daemon can do its work")
          .Add(reading.parts, "part"));

  Scraped bytes(kCounter, "kdbgd_gdb_bytes_total",
                "Bytes of gdb's protocol, with gdb (client) and with QEMU (stub)");
  Scraped packets(kCounter, "kdbgd_gdb_packets_total",
                  "Packets of gdb's protocol; one sent to a stub is a round trip to QEMU");
  for (const Reading::Flow& flow : reading.gdb_flows) {
    bytes.Add(static_cast<double>(flow.bytes),
              {{"peer", flow.peer}, {"direction", flow.direction}});
    packets.Add(static_cast<double>(flow.packets),
                {{"peer", flow.peer}, {"direction", flow.direction}});
  }
  add(bytes);
  add(packets);
  add(Scraped(kCounter, "kdbgd_gdb_clients_total", "gdb clients that came to a session")
          .Add(static_cast<double>(reading.gdb_clients_attached), {{"outcome", "attached"}})
          .Add(static_cast<double>(reading.gdb_clients_refused), {{"outcome", "refused"}}));

  add(Scraped(kGauge, "kdbgd_disk_bytes", "Size of the state directory's file system")
          .Add(reading.disk_bytes));
  add(Scraped(kGauge, "kdbgd_disk_free_bytes", "What is free of it").Add(reading.disk_free_bytes));
  add(Scraped(kGauge, "kdbgd_artifacts", "Artifacts in the store").Add(reading.artifacts));
  add(Scraped(kGauge, "kdbgd_store_blobs", "Different files of all artifacts")
          .Add(reading.store_blobs));
  add(Scraped(kGauge, "kdbgd_store_bytes", "Bytes of these files").Add(reading.store_bytes));
  add(Scraped(kCounter, "kdbgd_upload_bytes_total", "Bytes of sources and files received")
          .Add(static_cast<double>(reading.upload_bytes)));
  return families;
}

}  // namespace

class Metrics::Impl final : public prometheus::Collectable {
 public:
  Impl(std::string_view version, std::span<const std::string_view> methods, Read read)
      : read_(std::move(read)) {
    Info("kdbgd_info", "What runs; always 1", {{"version", Text(version)}});
    prometheus::BuildGauge()
        .Name("kdbgd_start_time_seconds")
        .Help("When the daemon started, since 1970")
        .Register(registry_)
        .Add({})
        .SetToCurrentTime();
    // A rate needs a value before the first event.
    for (const std::string_view method : methods) {
      CallsOf(method, absl::StatusCode::kOk);
      CallsOf(method, absl::StatusCode::kInternal);
    }
    for (const std::string_view kind : kBuildKinds) {
      for (const std::string_view result : kBuildResults) BuildsOf(kind, result);
      DurationOf(kind);
    }
    for (const std::string_view origin : kOrigins) ReadyOf(origin);
    for (const std::string_view reason : kEndReasons) EndsBy(reason);
  }

  std::vector<MetricFamily> Collect() const override {
    std::vector<MetricFamily> families = registry_.Collect();
    std::vector<MetricFamily> scraped = ToFamilies(read_());
    families.insert(families.end(), std::move_iterator(scraped.begin()),
                    std::move_iterator(scraped.end()));
    return families;
  }

  // The one with these labels, made when it is first asked for.
  Counter& CallsOf(std::string_view method, absl::StatusCode code) {
    return calls_.Add({{"method", Text(method)}, {"code", CodeName(code)}});
  }
  Histogram& TimeOf(std::string_view method) {
    return call_seconds_.Add({{"method", Text(method)}}, kCallBuckets);
  }
  Counter& BuildsOf(std::string_view kind, std::string_view result) {
    return builds_.Add({{"kind", Text(kind)}, {"result", Text(result)}});
  }
  Histogram& DurationOf(std::string_view kind) {
    return build_seconds_.Add({{"kind", Text(kind)}}, kBuildBuckets);
  }
  Histogram& ReadyOf(std::string_view origin) {
    return ready_seconds_.Add({{"origin", Text(origin)}}, kReadyBuckets);
  }
  Counter& EndsBy(std::string_view reason) {
    return ended_sessions_.Add({{"reason", Text(reason)}});
  }
  Histogram& waited() { return build_wait_seconds_; }
  Counter& cache_hits() { return cache_hits_; }
  Counter& cache_misses() { return cache_misses_; }

 private:
  void Info(const std::string& name, const std::string& help, const Labels& labels) {
    prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels).Set(1);
  }
  Family<Counter>& CounterFamily(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_);
  }
  Family<Histogram>& HistogramFamily(const std::string& name, const std::string& help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_);
  }

  const Read read_;
  prometheus::Registry registry_;
  Family<Counter>& calls_ =
      CounterFamily("kdbgd_rpcs_total", "Calls that have ended, by method and status code");
  Family<Histogram>& call_seconds_ =
      HistogramFamily("kdbgd_rpc_seconds", "How long calls took that are no streams");
  Family<Counter>& builds_ =
      CounterFamily("kdbgd_builds_total", "Builds that have ended; answered: from the store");
  Family<Histogram>& build_seconds_ =
      HistogramFamily("kdbgd_build_seconds", "How long builds took that were made and succeeded");
  Histogram& build_wait_seconds_ =
      HistogramFamily("kdbgd_build_wait_seconds", "How long builds waited before they began")
          .Add({}, kBuildBuckets);
  Family<Counter>& cache_lookups_ = CounterFamily(
      "kdbgd_compile_cache_lookups_total", "Compilations of builds that have ended, by outcome");
  Counter& cache_hits_ = cache_lookups_.Add({{"outcome", "hit"}});
  Counter& cache_misses_ = cache_lookups_.Add({{"outcome", "miss"}});
  Family<Histogram>& ready_seconds_ = HistogramFamily(
      "kdbgd_session_ready_seconds", "From room for a session until gdb can attach, by its origin");
  Family<Counter>& ended_sessions_ =
      CounterFamily("kdbgd_sessions_ended_total", "Sessions that have ended; expired: their lease");
};

Metrics::Metrics(std::string_view version, std::span<const std::string_view> methods, Read read)
    : impl_(std::make_shared<Impl>(version, methods, std::move(read))) {}
Metrics::~Metrics() = default;

void Metrics::CountCall(std::string_view method, absl::StatusCode code,
                        std::optional<absl::Duration> took) {
  impl_->CallsOf(method, code).Increment();
  if (took) impl_->TimeOf(method).Observe(absl::ToDoubleSeconds(*took));
}

void Metrics::CountBuild(const BuildEnd& build) {
  impl_->BuildsOf(build.kind, kBuildResults[static_cast<std::size_t>(build.result)]).Increment();
  if (build.result == BuildResult::kAnswered) return;
  impl_->waited().Observe(absl::ToDoubleSeconds(build.waited));
  impl_->cache_hits().Increment(static_cast<double>(build.cache_hits));
  impl_->cache_misses().Increment(static_cast<double>(build.cache_misses));
  if (build.result != BuildResult::kSucceeded) return;
  impl_->DurationOf(build.kind).Observe(absl::ToDoubleSeconds(build.took));
}

void Metrics::CountReadySession(std::string_view origin, absl::Duration took) {
  impl_->ReadyOf(origin).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::CountEndedSession(std::string_view reason) { impl_->EndsBy(reason).Increment(); }

std::weak_ptr<prometheus::Collectable> Metrics::collectable() const { return impl_; }

}  // namespace kdbg::observe
