// Which build is next: people's before the service's own, then owners with the least running, then
// those who were served longest ago, then the oldest; one at a time in a workspace. Pure; its user
// locks.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace kdbg::build {

class BuildQueue {
 public:
  struct Entry {
    std::string id;
    std::string owner;
    std::string workspace;  // of this owner
    bool in_background = false;
  };

  void Add(Entry entry) { waiting_.push_back(std::move(entry)); }
  // Takes the next out of the queue and counts it as running until Finish.
  std::optional<Entry> Start();
  bool CanStart() const { return Next() != waiting_.end(); }
  void Finish(const Entry& entry);
  // False when it was not waiting.
  bool Remove(std::string_view id);

  // 1 is next, as things stand and one at a time; 0 when it is not waiting.
  int Position(std::string_view id) const;
  std::size_t size(bool in_background) const;
  // How many of people's builds only wait for a thread that has time.
  int UrgentThatCouldStart() const;

 private:
  using Workspace = std::pair<std::string, std::string>;  // owner, name
  std::list<Entry>::const_iterator Next() const;
  int RunningOf(const std::string& owner) const;
  bool GoesBefore(const Entry& one, const Entry& other) const;

  std::list<Entry> waiting_;
  std::set<Workspace> busy_;
  std::map<std::string, int> running_;           // per owner
  std::map<std::string, std::uint64_t> served_;  // per owner: which start was the last of theirs
  std::uint64_t starts_ = 0;
};

}  // namespace kdbg::build
