// The turns of one stream: whatever wakes it (a message written, a message read, a subscription, a
// cancel), its turn runs on the executor, never two at once, and any number of wakes before a turn
// are one.
//
// Thread-safe. Held by shared_ptr: wakers may outlive the stream and then do nothing.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/service/executor.h"

namespace kdbg::service {

class Turns : public std::enable_shared_from_this<Turns> {
 public:
  enum class After { kGoOn, kOver };  // kOver: the stream is finished and may be gone already
  enum class StopCause { kNone, kCancelled, kDraining, kRevoked };

  Turns(Executor& executor, std::function<After()> turn)
      : executor_(executor), turn_(std::move(turn)) {}

  void Wake() {
    absl::MutexLock lock(&mutex_);
    WakeLocked();
  }

  // Wakes too; the first cause stays.
  void Stop(StopCause cause) {
    absl::MutexLock lock(&mutex_);
    if (stop_ == StopCause::kNone) stop_ = cause;
    WakeLocked();
  }

  StopCause stop_cause() const {
    absl::MutexLock lock(&mutex_);
    return stop_;
  }

  // For subscriptions.
  std::function<void()> Waker() {
    return [weak = weak_from_this()] {
      if (const auto turns = weak.lock()) turns->Wake();
    };
  }

 private:
  void WakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (over_) return;
    woken_ = true;
    if (running_) return;
    running_ = true;
    Post();
  }

  // Back through the queue after each turn, so that a busy stream does not keep a thread.
  void Post() {
    executor_.Run([self = shared_from_this()] { self->RunOne(); });
  }

  void RunOne() {
    {
      absl::MutexLock lock(&mutex_);
      woken_ = false;
    }
    const After after = turn_();
    absl::MutexLock lock(&mutex_);
    over_ = after == After::kOver;
    running_ = woken_ && !over_;
    if (running_) Post();
  }

  Executor& executor_;
  const std::function<After()> turn_;
  mutable absl::Mutex mutex_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  StopCause stop_ ABSL_GUARDED_BY(mutex_) = StopCause::kNone;
};

}  // namespace kdbg::service
