// A clock that tests tick by hand.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"

namespace kdbg {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return wall_;
  }
  absl::Duration Monotonic() const override {
    absl::MutexLock lock(&mutex_);
    return monotonic_;
  }

  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    wall_ += by;
    monotonic_ += by;
  }
  // Somebody sets the wall clock.
  void SetWall(absl::Time wall) {
    absl::MutexLock lock(&mutex_);
    wall_ = wall;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time wall_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1'700'000'000);
  absl::Duration monotonic_ ABSL_GUARDED_BY(mutex_) = absl::Hours(1);
};

}  // namespace kdbg
