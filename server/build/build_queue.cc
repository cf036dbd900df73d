#include "server/build/build_queue.h"

#include <algorithm>
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
  if (std::ranges::none_of(waiting_, [&](const Entry& entry) { return entry.id == id; })) return 0;
  BuildQueue ahead = *this;
  ahead.busy_.clear();
  int position = 0;
  while (const std::optional<Entry> next = ahead.Start()) {
    ++position;
    if (next->id == id) break;
    ahead.Finish(*next);
  }
  return position;
}

std::size_t BuildQueue::size(bool in_background) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      waiting_, [&](const Entry& entry) { return entry.in_background == in_background; }));
}

int BuildQueue::UrgentThatCouldStart() const {
  std::set<Workspace> workspaces;
  for (const Entry& entry : waiting_) {
    const Workspace workspace = {entry.owner, entry.workspace};
    if (!entry.in_background && !busy_.contains(workspace)) workspaces.insert(workspace);
  }
  return static_cast<int>(workspaces.size());
}

}  // namespace kdbg::build
