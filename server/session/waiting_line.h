// Sessions that wait for room, and whose turn it is.
//
// Fair: the user who holds the fewest sessions goes first, then who has waited longest. A user at
// their own limit is passed over; a request the host has no room for holds up those behind it, else
// a large one would wait for ever. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/session/quota.h"

namespace kdbg::session {

class WaitingLine {
 public:
  struct Entry {
    std::string id;
    std::string owner;
    Amount wanted;
  };

  // At the end of the line.
  void Add(Entry entry) { entries_.push_back(std::move(entry)); }
  void Remove(std::string_view id);
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }

  // The one that can start now.
  std::optional<std::string> Next(const Quota& quota, std::span<const Holding> held) const;
  // In the order of their turns; the first is next.
  std::vector<std::string> Order(std::span<const Holding> held) const;

 private:
  std::vector<const Entry*> Sorted(std::span<const Holding> held) const;

  std::vector<Entry> entries_;  // as they came
};

}  // namespace kdbg::session
