// Tells when leases are about to run out, and when they have: one thread that sleeps until the
// earliest is due.
//
// Thread-safe. Deadlines are monotonic (Clock::Monotonic), so a wall clock set forward or back ends
// nothing early.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"

namespace kdbg::session {

class LeaseKeeper {
 public:
  using Tell = std::function<void(const std::string& id)>;
  // Both are called on the keeper's thread, once per Set, under no lock, and may call back in;
  // `ending` 5 minutes before the end, or in the last quarter of a lease that is short.
  LeaseKeeper(const Clock& clock, Tell ending, Tell expired);
  ~LeaseKeeper();

  // Sets or moves the end of a lease to `left` from now.
  void Set(std::string_view id, absl::Duration left);
  void Remove(std::string_view id);

  // Looks at the clock now: for tests that tick it by hand.
  void Wake();

 private:
  struct Lease {
    absl::Duration end;
    absl::Duration warning;  // infinite once it was told
  };
  struct Due {
    std::vector<std::string> ending;
    std::vector<std::string> expired;
    absl::Duration next = absl::InfiniteDuration();  // until something else is
  };
  void Run();
  Due TakeDue(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const Tell ending_;
  const Tell expired_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::map<std::string, Lease, std::less<>> leases_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kdbg::session
