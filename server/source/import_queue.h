// Which imports run when: on a few threads, so that the difference of a work tree, which somebody
// waits for, does not stand behind a tarball.
//
// Thread-safe. The catalog drives it.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kdbg::source {

enum class ImportLane { kArchives, kPacks, kRemotes };

class ImportQueue {
 public:
  // Runs on a thread of ours until it returns, soon after a stop.
  using Work = std::function<void(const std::string& id, const std::stop_token& stop)>;

  explicit ImportQueue(Work work);
  // Stops what runs; what waits is dropped.
  ~ImportQueue();

  void Add(std::string id, ImportLane lane);
  // Takes it out of the queue, or asks it to stop.
  void Cancel(const std::string& id);

 private:
  static constexpr std::size_t kLanes = 3;

  void RunLane(std::size_t lane);
  std::optional<std::string> Next(std::size_t lane);

  const Work work_;
  absl::Mutex mutex_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::array<std::deque<std::string>, kLanes> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::stop_source> running_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace kdbg::source
