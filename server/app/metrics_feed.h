// Feeds the metrics: hears of calls, builds and sessions as they end, and asks everybody how things
// are at each scrape. A part of the composition root of its own.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/subscribers.h"
#include "server/build/builds.h"
#include "server/gdb/io_thread.h"
#include "server/observe/health.h"
#include "server/observe/metrics.h"
#include "server/observe/metrics_listener.h"
#include "server/service/call_gate.h"
#include "server/session/sessions.h"
#include "server/source/upload_store.h"
#include "server/store/artifact_store.h"

namespace kdbg::app {

class MetricsFeed {
 public:
  // All of it outlives the feed.
  struct Parts {
    service::CallGate& gate;
    build::Builds& builds;
    session::Sessions& sessions;
    const store::ArtifactStore& artifacts;
    const source::UploadStore& uploads;
    gdb::IoThread& io_thread;
    const observe::Health& health;
    const Clock& clock;
    std::filesystem::path state_directory;
    std::string version;
  };
  // Listens on `address` when this returns; errors as observe::MetricsListener.
  static absl::StatusOr<std::unique_ptr<MetricsFeed>> Start(const Parts& parts,
                                                            const std::string& address);

  int port() const { return listener_->port(); }

 private:
  explicit MetricsFeed(const Parts& parts);
  observe::Reading Read() const;
  void OnBuild(const build::BuildRecord& build);
  void OnSession(const session::SessionRecord& session);

  const Parts parts_;
  const absl::Time start_;
  observe::Metrics metrics_;
  absl::Mutex mutex_;
  // When each session that has not ended was ready last: it is told again at each change.
  std::map<std::string, absl::Time> ready_ ABSL_GUARDED_BY(mutex_);
  std::vector<Subscription> subscriptions_;
  std::unique_ptr<observe::MetricsListener> listener_;  // last: its threads ask the others
};

}  // namespace kdbg::app
