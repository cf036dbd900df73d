// How fast each user's bytes may come in: whoever is ahead of the rate is told how long to wait
// before the next ones are read.
//
// Thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"

namespace kdbg::service {

class BytePace {
 public:
  // 0 bytes per second: as fast as they come.
  BytePace(const Clock& clock, std::int64_t bytes_per_second)
      : clock_(clock), bytes_per_second_(bytes_per_second) {}

  // After `bytes` of the user have come: how long until the next may.
  absl::Duration Took(const std::string& user, std::int64_t bytes) {
    if (bytes_per_second_ == 0) return absl::ZeroDuration();
    absl::MutexLock lock(&mutex_);
    const absl::Duration now = clock_.Monotonic();
    std::erase_if(paid_until_, [&](const auto& each) { return each.second <= now; });
    absl::Duration& until = paid_until_[user];
    until = std::max(until, now) + absl::Seconds(1) * bytes / bytes_per_second_;
    return until - now;
  }

 private:
  const Clock& clock_;
  const std::int64_t bytes_per_second_;
  absl::Mutex mutex_;
  std::map<std::string, absl::Duration> paid_until_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::service
