#include "server/session/lease_keeper.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace kdbg::session {

LeaseKeeper::LeaseKeeper(const Clock& clock, std::function<void(const std::string&)> expired)
    : clock_(clock), expired_(std::move(expired)), thread_([this] { Run(); }) {}

LeaseKeeper::~LeaseKeeper() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.Signal();
  }
  thread_.join();
}

void LeaseKeeper::Set(std::string_view id, absl::Duration left) {
  absl::MutexLock lock(&mutex_);
  deadlines_.insert_or_assign(std::string(id), clock_.Monotonic() + left);
  changed_.Signal();
}

void LeaseKeeper::Remove(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  if (const auto found = deadlines_.find(id); found != deadlines_.end()) deadlines_.erase(found);
}

void LeaseKeeper::Wake() {
  absl::MutexLock lock(&mutex_);
  changed_.Signal();
}

void LeaseKeeper::Run() {
  mutex_.Lock();
  while (!stopping_) {
    const absl::Duration now = clock_.Monotonic();
    absl::Duration next = absl::InfiniteDuration();
    std::vector<std::string> due;
    for (const auto& [id, deadline] : deadlines_) {
      if (deadline <= now) {
        due.push_back(id);
      } else {
        next = std::min(next, deadline - now);
      }
    }
    if (due.empty()) {
      changed_.WaitWithTimeout(&mutex_, next);
      continue;
    }
    for (const std::string& id : due) deadlines_.erase(id);
    mutex_.Unlock();
    for (const std::string& id : due) expired_(id);
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace kdbg::session
