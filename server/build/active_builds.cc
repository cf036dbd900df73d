#include "server/build/active_builds.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "proto/contract/error.h"

namespace kdbg::build {

std::optional<ActiveBuilds::Work> ActiveBuilds::FindWork(const BuildRecord& build) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, entry] : works_) {
    if (Admits(entry) && entry.key == build.key && entry.queued.owner == build.owner &&
        entry.is_private == build.request.is_private) {
      return Work{.id = id, .eldest = entry.members.front(), .workspace = entry.queued.workspace};
    }
  }
  return std::nullopt;
}

bool ActiveBuilds::Join(std::string_view work, BuildRecord build) {
  absl::MutexLock lock(&mutex_);
  const auto found = works_.find(work);
  if (found == works_.end() || !Admits(found->second)) return false;
  Entry& entry = found->second;
  const BuildRecord& eldest = members_.at(entry.members.front()).record;
  build.state = eldest.state;
  build.start_time = eldest.start_time;
  build.progress = eldest.progress;
  build.log_size_bytes = eldest.log_size_bytes;
  build.workspace = entry.queued.workspace;
  entry.members.push_back(build.id);
  members_[build.id] = {.record = build, .work = found->first};
  return true;
}

absl::Status ActiveBuilds::CheckRoom(Priority priority) const {
  absl::MutexLock lock(&mutex_);
  if (ending_) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kDraining,
                     "the server is ending: try again when it is back", {}, absl::Seconds(5));
  }
  const std::size_t waiting = queue_.size(priority == Priority::kBackground);
  if (waiting >= queue_limit_) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, Reason::kQueueFull,
        fmt::format("{} builds are waiting already: try again later, or cancel one", waiting),
        {{"limit", std::to_string(queue_limit_)}}, absl::Seconds(30));
  }
  return absl::OkStatus();
}

// What in the background is to be stopped.
std::vector<std::stop_source> ActiveBuilds::MakeRoom() {
  int missing = queue_.UrgentThatCouldStart() - idle_;
  std::vector<Entry*> background;
  for (auto& [id, entry] : works_) {
    if (!entry.running || !entry.queued.in_background || !Admits(entry)) continue;
    if (entry.preempted) {
      --missing;  // this room is being made already
    } else {
      background.push_back(&entry);
    }
  }
  std::vector<std::stop_source> stops;
  for (Entry* entry : background) {
    if (missing-- <= 0) break;
    entry->preempted = true;
    stops.push_back(entry->stop);
  }
  return stops;
}

int ActiveBuilds::Add(BuildRecord build, Priority priority) {
  std::vector<std::stop_source> stops;
  int position = 0;
  {
    absl::MutexLock lock(&mutex_);
    position = Enter(std::move(build), priority);
    if (priority == Priority::kNormal) stops = MakeRoom();
  }
  for (std::stop_source& stop : stops) stop.request_stop();  // ends commands here: under no lock
  return position;
}

int ActiveBuilds::Enter(BuildRecord build, Priority priority) {
  Entry& entry = works_[build.id];
  entry.queued = {build.id, build.owner, build.workspace, priority == Priority::kBackground};
  entry.members = {build.id};
  entry.key = build.key;
  entry.is_private = build.request.is_private;
  queue_.Add(entry.queued);
  const std::string id = build.id;
  members_[id] = {.record = std::move(build), .work = id};
  return queue_.Position(id);
}

std::vector<BuildRecord> ActiveBuilds::Records(const Entry& entry) const {
  std::vector<BuildRecord> records;
  for (const std::string& id : entry.members) records.push_back(members_.at(id).record);
  return records;
}

void ActiveBuilds::SetHeld(bool held) {
  std::vector<std::stop_source> stops;
  {
    absl::MutexLock lock(&mutex_);
    held_ = held;
    for (auto& [id, entry] : works_) {
      if (!held || !entry.running || entry.preempted || !Admits(entry)) continue;
      entry.preempted = true;
      stops.push_back(entry.stop);
    }
  }
  for (std::stop_source& stop : stops) stop.request_stop();  // ends commands here: under no lock
}

std::optional<ActiveBuilds::Started> ActiveBuilds::Next(absl::Time now) {
  const absl::Time called = absl::Now();
  absl::MutexLock lock(&mutex_);
  const auto awake = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return ending_ || (!held_ && queue_.CanStart());
  };
  ++idle_;
  mutex_.Await(absl::Condition(&awake));
  --idle_;
  if (ending_) return std::nullopt;
  now += absl::Now() - called;
  const BuildQueue::Entry next = *queue_.Start();
  Entry& entry = works_.at(next.id);
  entry.running = true;
  for (const std::string& id : entry.members) {
    BuildRecord& record = members_.at(id).record;
    record.state = BuildState::kRunning;
    record.start_time = now;
  }
  return Started{.work = next.id, .members = Records(entry), .stop = entry.stop.get_token()};
}

std::vector<BuildRecord> ActiveBuilds::Advance(std::string_view work, const BuildProgress& progress,
                                               std::int64_t log_size_bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = works_.find(work);
  if (found == works_.end()) return {};
  for (const std::string& id : found->second.members) {
    BuildRecord& record = members_.at(id).record;
    record.progress = progress;
    record.log_size_bytes = log_size_bytes;
  }
  return Records(found->second);
}

std::vector<BuildRecord> ActiveBuilds::Close(std::string_view work) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = works_.at(std::string(work));
  entry.closed = true;
  return Records(entry);
}

bool ActiveBuilds::Requeue(std::string_view work) {
  absl::MutexLock lock(&mutex_);
  const auto found = works_.find(work);
  if (found == works_.end() || ending_) return false;
  Entry& entry = found->second;
  if (!entry.preempted || !Admits(entry)) return false;
  entry.running = false;
  entry.preempted = false;
  entry.stop = std::stop_source();
  for (const std::string& id : entry.members) {
    BuildRecord& record = members_.at(id).record;
    record.state = BuildState::kQueued;
    record.start_time.reset();
    record.progress = {};
  }
  queue_.Finish(entry.queued);
  queue_.Add(entry.queued);
  return true;
}

bool ActiveBuilds::WasCancelled(std::string_view work) const {
  absl::MutexLock lock(&mutex_);
  const auto found = works_.find(work);
  return found != works_.end() && found->second.cancelled;
}

void ActiveBuilds::Remove(std::string_view work) {
  absl::MutexLock lock(&mutex_);
  const auto found = works_.find(work);
  if (found == works_.end()) return;
  queue_.Finish(found->second.queued);
  for (const std::string& id : found->second.members) members_.erase(id);
  works_.erase(found);
}

ActiveBuilds::Leaving ActiveBuilds::Leave(std::string_view build, BuildRecord* left) {
  std::stop_source stop(std::nostopstate);
  {
    absl::MutexLock lock(&mutex_);
    const auto member = members_.find(build);
    if (member == members_.end()) return Leaving::kNotActive;
    *left = member->second.record;
    // Somebody else is at it already.
    if (member->second.work.empty()) return Leaving::kTooLate;
    const auto found = works_.find(member->second.work);
    Entry& entry = found->second;
    if (!Admits(entry)) return Leaving::kTooLate;
    const bool last = entry.members.size() == 1;
    if (!last || queue_.Remove(found->first)) {
      std::erase(entry.members, build);
      member->second.work.clear();
      if (last) works_.erase(found);
      return Leaving::kLeft;
    }
    entry.cancelled = true;
    stop = entry.stop;
  }
  stop.request_stop();  // ends commands on this thread: under no lock
  return Leaving::kStopped;
}

void ActiveBuilds::Forget(std::string_view build) {
  absl::MutexLock lock(&mutex_);
  const auto member = members_.find(build);
  if (member != members_.end() && member->second.work.empty()) members_.erase(member);
}

void ActiveBuilds::AwaitEnd(std::string_view build) const {
  absl::MutexLock lock(&mutex_);
  const auto gone = [this, build]()
                        ABSL_NO_THREAD_SAFETY_ANALYSIS { return !members_.contains(build); };
  mutex_.Await(absl::Condition(&gone));
}

std::optional<BuildRecord> ActiveBuilds::Find(std::string_view build) const {
  absl::MutexLock lock(&mutex_);
  const auto found = members_.find(build);
  if (found == members_.end()) return std::nullopt;
  BuildRecord record = found->second.record;
  record.progress.queue_position = queue_.Position(found->second.work);
  return record;
}

std::vector<std::string> ActiveBuilds::MembersOf(std::string_view work) const {
  absl::MutexLock lock(&mutex_);
  const auto found = works_.find(work);
  return found == works_.end() ? std::vector<std::string>() : found->second.members;
}

BuildNumbers ActiveBuilds::Count() const {
  absl::MutexLock lock(&mutex_);
  BuildNumbers numbers;
  for (const auto& [id, member] : members_) {
    ++(member.record.state == BuildState::kRunning ? numbers.running : numbers.queued);
  }
  return numbers;
}

int ActiveBuilds::waiting_threads() const {
  absl::MutexLock lock(&mutex_);
  return idle_;
}

void ActiveBuilds::End() {
  std::vector<std::stop_source> stops;
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    for (const auto& [id, entry] : works_) stops.push_back(entry.stop);
  }
  for (std::stop_source& stop : stops) stop.request_stop();
}

}  // namespace kdbg::build
