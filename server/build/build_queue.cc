#include "server/build/build_queue.h"

#include <utility>

namespace kdbg::build {

int BuildQueue::RunningOf(const std::string& owner) const {
  const auto found = running_.find(owner);
  return found == running_.end() ? 0 : found->second;
}

std::list<BuildQueue::Entry>::const_iterator BuildQueue::Next() const {
  auto best = waiting_.end();
  for (auto entry = waiting_.begin(); entry != waiting_.end(); ++entry) {
    if (busy_.contains({entry->owner, entry->workspace})) continue;
    if (best == waiting_.end() || RunningOf(entry->owner) < RunningOf(best->owner)) best = entry;
  }
  return best;
}

std::optional<BuildQueue::Entry> BuildQueue::Start() {
  const auto next = Next();
  if (next == waiting_.end()) return std::nullopt;
  Entry entry = *next;
  waiting_.erase(next);
  busy_.insert({entry.owner, entry.workspace});
  ++running_[entry.owner];
  return entry;
}

void BuildQueue::Finish(const Entry& entry) {
  busy_.erase({entry.owner, entry.workspace});
  const auto found = running_.find(entry.owner);
  if (found != running_.end() && --found->second == 0) running_.erase(found);
}

bool BuildQueue::Remove(std::string_view id) {
  return waiting_.remove_if([&](const Entry& entry) { return entry.id == id; }) > 0;
}

int BuildQueue::Position(std::string_view id) const {
  int position = 0;
  for (const Entry& entry : waiting_) {
    ++position;
    if (entry.id == id) return position;
  }
  return 0;
}

}  // namespace kdbg::build
