// SIGINT, SIGTERM and SIGHUP as callbacks on one thread of ours. Made by main before any other
// thread, so that every thread inherits the blocked signals; children do not (Subprocess clears the
// mask).
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;

  // While one lives, a signal runs the innermost one's callback, on the signal thread and under a
  // lock: it may cancel a call or wake a poll, no more. Without one, and the second time in one
  // scope, a signal ends the program with 130.
  class Scope {
   public:
    Scope(Interrupt& interrupt, std::function<void()> on_signal);
    ~Scope();
    Scope(const Scope&) = delete;
    // Whether a signal came while this scope was the innermost.
    bool fired() const;

   private:
    Interrupt& interrupt_;
    std::function<void()> outer_;
    bool outer_fired_;
  };

  // Before exec: the program that follows starts with nothing blocked or ignored.
  static void RestoreDefaults();

 private:
  void Run();

  UniqueFd signals_;
  UniqueFd stop_;
  mutable absl::Mutex mutex_;
  std::function<void()> on_signal_ ABSL_GUARDED_BY(mutex_);
  bool fired_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kdbg::client
