// What one caller may have of the server's attention: calls begun per second, after some at once;
// and calls that wait or are worked on. Asked on gRPC's own threads before anything else of a call
// is looked at, so that a flood costs the one who makes it, and nobody else's place in a queue.
//
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/service/rpc_table.h"

namespace kdbg::service {

// One call's or stream's place among its caller's; gives it back when destroyed.
class Place {
 public:
  Place() = default;
  explicit Place(std::function<void()> leave) : leave_(std::move(leave)) {}
  Place(Place&& other) noexcept : leave_(std::exchange(other.leave_, nullptr)) {}
  Place& operator=(Place&& other) noexcept {
    std::swap(leave_, other.leave_);
    return *this;
  }
  ~Place() {
    if (leave_) leave_();
  }

 private:
  std::function<void()> leave_;
};

struct CallBudgetLimits {
  int calls_per_second = 200;
  int burst = 1000;
  int calls_at_once = 128;
  int long_calls_at_once = 4;
};

class CallBudget {
 public:
  CallBudget(const Clock& clock, const CallBudgetLimits& limits) : clock_(clock), limits_(limits) {}

  // RESOURCE_EXHAUSTED (kTooManyCalls), with the time to wait where that is known. The place is
  // given back before this object goes.
  absl::StatusOr<Place> Enter(const std::string& caller, CallLength length);
  // The same for a stream, which counts among calls per second only.
  absl::Status Begin(const std::string& caller);

 private:
  struct Spent {
    // When the last call would have begun, had they come evenly: ahead of now by what was had at
    // once.
    absl::Duration paid_until;
    int short_calls = 0;
    int long_calls = 0;
  };
  absl::Status PayLocked(Spent& spent) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Spent& SpentLocked(const std::string& caller) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(const std::string& caller, CallLength length);

  const Clock& clock_;
  const CallBudgetLimits limits_;
  absl::Mutex mutex_;
  std::map<std::string, Spent> callers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::service
