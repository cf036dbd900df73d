// Threads for work that blocks (disk, git, libvirt), so that gRPC's own threads never do.
//
// Thread-safe. Calls are bounded: beyond `max_queued` waiting ones TryRun refuses. Streams run
// their turns by Run; there are as many of those as streams, which are bounded elsewhere.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kdbg::service {

class Executor {
 public:
  Executor(int threads, std::size_t max_queued);
  // Finishes what is queued, then joins.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  [[nodiscard]] bool TryRun(std::function<void()> work);
  void Run(std::function<void()> work);

 private:
  void Work();
  bool HasWorkOrStops() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty();
  }

  const std::size_t max_queued_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace kdbg::service
