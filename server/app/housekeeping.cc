#include "server/app/housekeeping.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace kdbg::app {
namespace {

absl::Duration SinceSomeStart() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

ChoreSchedule::ChoreSchedule(std::vector<Chore> chores, absl::Duration now) {
  for (Chore& chore : chores) {
    const absl::Duration due = now + chore.period;
    entries_.push_back({.chore = std::move(chore), .due = due});
  }
}

absl::Duration ChoreSchedule::RunDue(absl::Duration now, std::stop_token stop) {
  absl::Duration next = absl::InfiniteDuration();
  for (Entry& entry : entries_) {
    if (entry.due <= now && !stop.stop_requested()) {
      const absl::Status status = entry.chore.run(stop);
      if (!status.ok() && !absl::IsCancelled(status)) {
        spdlog::warn("{}: {}", entry.chore.name, status.ToString());
      }
      entry.due = now + entry.chore.period;
    }
    next = std::min(next, entry.due);
  }
  return next;
}

Housekeeping::Housekeeping(std::vector<Chore> chores)
    : thread_([this, chores = std::move(chores)](std::stop_token stop) mutable {
        Loop(std::move(stop), std::move(chores));
      }) {}

void Housekeeping::Loop(std::stop_token stop, std::vector<Chore> chores) {
  ChoreSchedule schedule(std::move(chores), SinceSomeStart());
  std::mutex mutex;
  std::condition_variable_any stopped;
  while (!stop.stop_requested()) {
    const absl::Duration now = SinceSomeStart();
    const absl::Duration next = schedule.RunDue(now, stop);
    if (next == absl::InfiniteDuration()) return;
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, absl::ToChronoNanoseconds(next - now), [] { return false; });
  }
}

}  // namespace kdbg::app
