// What Prometheus is told of the daemon. Every name, help text, label and bucket is in metrics.cc
// and nowhere else; kdbgd(8) lists them for the admin.
//
// Thread-safe. What happens is counted by whoever hears of it; how things are is asked for at each
// scrape, so that between two nobody pays.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace prometheus {
class Collectable;
}

namespace kdbg::observe {

// How things are at a scrape. What cannot be found out stays absent, and so does its metric.
struct Reading {
  std::map<std::string, int> builds;    // that have not ended, by state
  std::map<std::string, int> sessions;  // likewise

  std::map<std::string, bool> parts;  // whether each works

  struct Flow {
    std::string peer;       // "client", "stub"
    std::string direction;  // "received", "sent"
    std::uint64_t bytes = 0;
    std::uint64_t packets = 0;
  };
  std::vector<Flow> gdb_flows;
  std::uint64_t gdb_clients_attached = 0;
  std::uint64_t gdb_clients_refused = 0;

  std::optional<std::int64_t> disk_bytes;
  std::optional<std::int64_t> disk_free_bytes;
  std::optional<std::int64_t> artifacts;
  std::optional<std::int64_t> store_blobs;
  std::optional<std::int64_t> store_bytes;
  std::int64_t upload_bytes = 0;
};

// Why and how a build ended.
enum class BuildResult {
  kSucceeded,
  kAnswered,    // from the store, without work
  kFailed,      // its source does not compile
  kRefused,     // what was asked for cannot be
  kHostFailed,  // this host's fault
  kCancelled,
};

struct BuildEnd {
  std::string_view kind;  // "kernel", "initramfs"
  BuildResult result = BuildResult::kSucceeded;
  absl::Duration waited;
  absl::Duration took;
  std::int64_t cache_hits = 0;
  std::int64_t cache_misses = 0;
};

class Metrics {
 public:
  using Read = std::function<Reading()>;
  // `methods` are known from the start, with 0 calls: a rate needs a first value. `read` is called
  // at each scrape, on a thread of the listener's.
  Metrics(std::string_view version, std::span<const std::string_view> methods, Read read);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // `took` is absent for a stream, which lasts as long as its caller likes.
  void CountCall(std::string_view method, absl::StatusCode code,
                 std::optional<absl::Duration> took);
  void CountBuild(const BuildEnd& build);
  // `origin`: "cold", "cloned", "warm" or "restored".
  void CountReadySession(std::string_view origin, absl::Duration took);
  // `reason` in lower case: "deleted", "expired", ...
  void CountEndedSession(std::string_view reason);

  // For the listener, as long as this lives.
  std::weak_ptr<prometheus::Collectable> collectable() const;

 private:
  class Impl;
  const std::shared_ptr<Impl> impl_;
};

}  // namespace kdbg::observe
