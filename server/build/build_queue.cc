#include "server/build/build_queue.h"

#include <tuple>
#include <utility>

namespace kdbg::build {

int BuildQueue::RunningOf(const std::string& owner) const {
  const auto found = running_.find(owner);
  return found == running_.end() ? 0 : found->second;
}

bool BuildQueue::GoesBefore(const Entry& one, const Entry& other) const {
  const auto rank = [this](const Entry& entry) {
    const auto served = served_.find(entry.owner);
    return std::tuple(entry.in_background, RunningOf(entry.owner),
                      served == served_.end() ? 0 : served->second);
  };
  return rank(one) < rank(other);
}

std::list<BuildQueue::Entry>::const_iterator BuildQueue::Next() const {
  auto best = waiting_.end();
  for (auto entry = waiting_.begin(); entry != waiting_.end(); ++entry) {
    if (busy_.contains({entry->owner, entry->workspace})) continue;
    if (best == waiting_.end() || GoesBefore(*entry, *best)) best = entry;
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
  served_[entry.owner] = ++starts_;
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
