#include "server/source/import_queue.h"

#include <utility>

namespace kdbg::source {
namespace {

// Archives are imported one at a time anyway.
constexpr std::array<int, 3> kThreads = {1, 2, 2};

}  // namespace

ImportQueue::ImportQueue(Work work) : work_(std::move(work)) {
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < kThreads[lane]; ++i) {
      threads_.emplace_back([this, lane] { RunLane(lane); });
    }
  }
}

ImportQueue::~ImportQueue() {
  std::vector<std::stop_source> running;
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    for (auto& [id, stop] : running_) running.push_back(stop);
  }
  // Under no lock: who is asked may do something about it on this thread.
  for (std::stop_source& stop : running) stop.request_stop();
}

void ImportQueue::Add(std::string id, ImportLane lane) {
  absl::MutexLock lock(&mutex_);
  waiting_[static_cast<std::size_t>(lane)].push_back(std::move(id));
}

void ImportQueue::Cancel(const std::string& id) {
  std::stop_source stop(std::nostopstate);
  {
    absl::MutexLock lock(&mutex_);
    for (std::deque<std::string>& lane : waiting_) std::erase(lane, id);
    if (const auto found = running_.find(id); found != running_.end()) stop = found->second;
  }
  stop.request_stop();
}

std::optional<std::string> ImportQueue::Next(std::size_t lane) {
  absl::MutexLock lock(&mutex_);
  const auto awake = [this, lane]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return closing_ || !waiting_[lane].empty();
  };
  mutex_.Await(absl::Condition(&awake));
  if (closing_) return std::nullopt;
  std::string id = std::move(waiting_[lane].front());
  waiting_[lane].pop_front();
  running_[id] = std::stop_source();
  return id;
}

void ImportQueue::RunLane(std::size_t lane) {
  while (const std::optional<std::string> id = Next(lane)) {
    std::stop_token stop;
    {
      absl::MutexLock lock(&mutex_);
      stop = running_[*id].get_token();
    }
    work_(*id, stop);
    absl::MutexLock lock(&mutex_);
    running_.erase(*id);
  }
}

}  // namespace kdbg::source
