#include "server/app/watchdog.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/observe/log.h"

namespace kdbg::app {

struct Watchdog::Round {
  bool Over() const ABSL_SHARED_LOCKS_REQUIRED(mutex) { return stopping || unanswered.empty(); }

  absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::set<std::string> unanswered ABSL_GUARDED_BY(mutex);
};

Watchdog::Watchdog(absl::Duration period, std::vector<Part> parts, std::function<void()> alive)
    : period_(period),
      alive_(std::move(alive)),
      round_(std::make_shared<Round>()),
      thread_([this, parts = std::move(parts)] { Run(parts); }) {}

Watchdog::~Watchdog() {
  {
    absl::MutexLock lock(&round_->mutex);
    round_->stopping = true;
  }
  thread_.join();
}

void Watchdog::Run(const std::vector<Part>& parts) {
  Round& round = *round_;
  for (;;) {
    {
      absl::MutexLock lock(&round.mutex);
      for (const Part& part : parts) round.unanswered.insert(part.name);
    }
    for (const Part& part : parts) {
      part.ask([shared = round_, name = part.name] {
        absl::MutexLock lock(&shared->mutex);
        shared->unanswered.erase(name);
      });
    }
    {
      absl::MutexLock lock(&round.mutex);
      while (!round.mutex.AwaitWithTimeout(absl::Condition(&round, &Round::Over), period_)) {
        spdlog::error("no answer for {} from: {}", absl::FormatDuration(period_),
                      fmt::join(round.unanswered, ", "));
      }
      if (round.stopping) return;
    }
    alive_();
    absl::MutexLock lock(&round.mutex);
    if (round.mutex.AwaitWithTimeout(absl::Condition(&round.stopping), period_)) return;
  }
}

}  // namespace kdbg::app
