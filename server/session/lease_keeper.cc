#include "server/session/lease_keeper.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace kdbg::session {

namespace {

constexpr absl::Duration kWarning = absl::Minutes(5);
constexpr int kPartOfAShortOne = 4;

}  // namespace

LeaseKeeper::LeaseKeeper(const Clock& clock, Tell ending, Tell expired)
    : clock_(clock),
      ending_(std::move(ending)),
      expired_(std::move(expired)),
      thread_([this] { Run(); }) {}

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
  const absl::Duration end = clock_.Monotonic() + left;
  leases_.insert_or_assign(std::string(id),
                           Lease{end, end - std::min(kWarning, left / kPartOfAShortOne)});
  changed_.Signal();
}

void LeaseKeeper::Remove(std::string_view id) {
  absl::MutexLock lock(&mutex_);
  if (const auto found = leases_.find(id); found != leases_.end()) leases_.erase(found);
}

void LeaseKeeper::Wake() {
  absl::MutexLock lock(&mutex_);
  changed_.Signal();
}

LeaseKeeper::Due LeaseKeeper::TakeDue(absl::Duration now) {
  Due due;
  for (auto& [id, lease] : leases_) {
    if (lease.end <= now) {
      due.expired.push_back(id);
      continue;
    }
    if (lease.warning <= now) {
      due.ending.push_back(id);
      lease.warning = absl::InfiniteDuration();
    }
    due.next = std::min({due.next, lease.end - now, lease.warning - now});
  }
  for (const std::string& id : due.expired) leases_.erase(id);
  return due;
}

void LeaseKeeper::Run() {
  mutex_.Lock();
  while (!stopping_) {
    const Due due = TakeDue(clock_.Monotonic());
    if (due.ending.empty() && due.expired.empty()) {
      changed_.WaitWithTimeout(&mutex_, due.next);
      continue;
    }
    mutex_.Unlock();
    for (const std::string& id : due.ending) ending_(id);
    for (const std::string& id : due.expired) expired_(id);
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace kdbg::session
