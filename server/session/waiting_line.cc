#include "server/session/waiting_line.h"

#include <algorithm>
#include <map>

namespace kdbg::session {

void WaitingLine::Remove(std::string_view id) {
  std::erase_if(entries_, [id](const Entry& entry) { return entry.id == id; });
}

// Turn by turn: who gets one counts as holding it for the turns after that, so that a user who
// queued ten at once does not go ten times in a row.
std::vector<const WaitingLine::Entry*> WaitingLine::Sorted(std::span<const Holding> held) const {
  std::map<std::string_view, std::int64_t> sessions;
  for (const Holding& holding : held) ++sessions[holding.owner];
  std::vector<const Entry*> left;
  for (const Entry& entry : entries_) left.push_back(&entry);
  std::vector<const Entry*> sorted;
  while (!left.empty()) {
    const auto first = std::min_element(
        left.begin(), left.end(),
        [&](const Entry* a, const Entry* b) { return sessions[a->owner] < sessions[b->owner]; });
    ++sessions[(*first)->owner];
    sorted.push_back(*first);
    left.erase(first);
  }
  return sorted;
}

std::optional<std::string> WaitingLine::Next(const Quota& quota,
                                             std::span<const Holding> held) const {
  for (const Entry* entry : Sorted(held)) {
    const auto shortage = FindShortage(quota, held, entry->owner, entry->wanted);
    if (!shortage) return entry->id;
    if (shortage->of == Shortage::Of::kHost) return std::nullopt;
  }
  return std::nullopt;
}

std::vector<std::string> WaitingLine::Order(std::span<const Holding> held) const {
  std::vector<std::string> ids;
  for (const Entry* entry : Sorted(held)) ids.push_back(entry->id);
  return ids;
}

}  // namespace kdbg::session
