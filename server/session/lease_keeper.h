// Ends leases when they run out: one thread that sleeps until the earliest is due.
//
// Thread-safe. Deadlines are monotonic (Clock::Monotonic), so a wall clock set forward or back ends
// nothing early.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"

namespace kdbg::session {

class LeaseKeeper {
 public:
  // `expired` is called on the keeper's thread, once per lease, under no lock; it may call back in.
  LeaseKeeper(const Clock& clock, std::function<void(const std::string& id)> expired);
  ~LeaseKeeper();

  // Sets or moves the end of a lease to `left` from now.
  void Set(std::string_view id, absl::Duration left);
  void Remove(std::string_view id);

  // Looks at the clock now: for tests that tick it by hand.
  void Wake();

 private:
  void Run();

  const Clock& clock_;
  const std::function<void(const std::string&)> expired_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::map<std::string, absl::Duration, std::less<>> deadlines_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kdbg::session
