#include "server/source/known_objects.h"

#include <algorithm>
#include <optional>
#include <stop_token>
#include <utility>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"
#include "server/source/source_records.h"

namespace kdbg::source {

KnownObjects::KnownObjects(state::Database& database, const ObjectDatabase& objects,
                           const ArchiveLimits& archive_limits, const Limits& limits)
    : database_(database), objects_(objects), archive_limits_(archive_limits), limits_(limits) {}

KnownObjects::~KnownObjects() = default;

absl::Status KnownObjects::With(std::string_view owner,
                                absl::FunctionRef<absl::Status(const Extents&)> use) {
  const std::shared_ptr<List> list = Take(owner);
  std::size_t size = 0;
  absl::Status used;
  {
    absl::MutexLock lock(&list->mutex);
    KDBG_RETURN_IF_ERROR(Refresh(owner, *list));
    used = use(list->objects);
    size = list->objects.size();
  }
  NoteSize(owner, size);
  return used;
}

absl::StatusOr<std::vector<ObjectId>> KnownObjects::Filter(std::string_view owner,
                                                           std::span<const ObjectId> ids) {
  std::vector<ObjectId> known;
  KDBG_RETURN_IF_ERROR(With(owner, [&](const Extents& objects) {
    std::copy_if(ids.begin(), ids.end(), std::back_inserter(known),
                 [&](const ObjectId& id) { return objects.contains(id); });
    return absl::OkStatus();
  }));
  return known;
}

absl::Status KnownObjects::Refresh(std::string_view owner, List& list) {
  std::vector<std::string> trees;  // newest first
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(trees, SourceRecords::ReadyTrees(transaction, owner));
    return absl::OkStatus();
  }));
  const std::set<std::string> now(trees.begin(), trees.end());
  // What hung on a tree that went may be gone from the disk: nothing of it may be promised.
  if (!std::includes(now.begin(), now.end(), list.trees.begin(), list.trees.end())) {
    list.trees.clear();
    list.objects.clear();
  }
  std::vector<ObjectId> missing;
  for (const std::string& tree : trees) {
    if (!list.trees.insert(tree).second) continue;
    if (const std::optional<ObjectId> id = ObjectId::FromHex(tree)) missing.push_back(*id);
  }
  if (missing.empty() || list.objects.size() >= limits_.of_one_owner) return absl::OkStatus();
  if (Extend(missing, list).ok()) return absl::OkStatus();
  // One that cannot be read must not hide the others.
  for (const ObjectId& tree : missing) {
    const absl::Status extended = Extend({&tree, 1}, list);
    if (extended.ok()) continue;
    spdlog::warn("tree {}: {}", tree.Hex(), extended.ToString());
    list.trees.erase(tree.Hex());
  }
  return absl::OkStatus();
}

absl::Status KnownObjects::Extend(std::span<const ObjectId> trees, List& list) {
  const std::size_t room =
      limits_.of_one_owner - std::min(limits_.of_one_owner, list.objects.size());
  KDBG_ASSIGN_OR_RETURN(Extents more, WalkTrees(objects_.git(), trees, list.objects,
                                                archive_limits_, room, std::stop_token()));
  list.objects.merge(more);
  return absl::OkStatus();
}

std::shared_ptr<KnownObjects::List> KnownObjects::Take(std::string_view owner) {
  absl::MutexLock lock(&mutex_);
  Place& place = places_[std::string(owner)];
  if (place.list == nullptr) place.list = std::make_shared<List>();
  place.last_use = ++uses_;
  return place.list;
}

void KnownObjects::NoteSize(std::string_view owner, std::size_t size) {
  absl::MutexLock lock(&mutex_);
  if (const auto place = places_.find(owner); place != places_.end()) place->second.size = size;
  std::size_t total = 0;
  for (const auto& [name, place] : places_) total += place.size;
  while (places_.size() > 1 && total > limits_.of_all_owners) {
    const auto oldest = std::min_element(
        places_.begin(), places_.end(),
        [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; });
    total -= oldest->second.size;
    places_.erase(oldest);
  }
}

}  // namespace kdbg::source
