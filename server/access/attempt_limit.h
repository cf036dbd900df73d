// How often an address may be wrong: a few times at once, then now and then. What is kept of
// addresses is bounded; when there is no more room, all is forgiven.
//
// Thread-safe.
#pragma once

#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"

namespace kdbg::access {

class AttemptLimit {
 public:
  static constexpr int kAtOnce = 5;
  static constexpr absl::Duration kPeriod = absl::Seconds(30);  // after which one more is had

  explicit AttemptLimit(const Clock& clock) : clock_(clock) {}

  // RESOURCE_EXHAUSTED (kTooManyCalls) with the time to wait, when `address` has none left.
  absl::Status Check(const std::string& address);
  void Failed(const std::string& address);

 private:
  int FailuresLocked(const std::string& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Failures {
    int count = 0;
    absl::Duration since;
  };
  const Clock& clock_;
  absl::Mutex mutex_;
  std::map<std::string, Failures> failures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::access
