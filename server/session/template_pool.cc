#include "server/session/template_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "server/base/ids.h"
#include "server/guest/ram_image.h"
#include "server/observe/log.h"

namespace kdbg::session {
namespace {

constexpr std::int64_t kUsesBeforeOne = 2;
constexpr int kFailuresBeforeNone = 2;
constexpr std::size_t kRememberedKeys = 1024;

}  // namespace

TemplatePool::TemplatePool(const guest::GuestHost& host, Settings settings)
    : host_(host), settings_(std::move(settings)), thread_([this] { Run(); }) {}

TemplatePool::~TemplatePool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    cancel_.request_stop();
  }
  thread_.join();
}

// ---- what sessions ask

std::optional<std::string> TemplatePool::KeyOf(const guest::GuestSpec& guest,
                                               const guest::StopPoint& stop) const {
  // One moment for all clones; one that is not had by making the machine; an address that is random
  // is so for each; a network has ports of its own, a disk what was written to it, a folder what
  // its session was given, and not every extra device a state that goes elsewhere.
  if (guest.memory_mib > settings_.memory_mib || !guest::CanBeCloned(stop) ||
      std::holds_alternative<guest::StopAtReset>(stop) ||
      guest.base_address == guest::BaseAddress::kRandomized || guest.network || guest.disk ||
      !guest.folder.empty() || !guest.devices.empty()) {
    return std::nullopt;
  }
  const absl::StatusOr<std::string> emulator = host_.hypervisor.EmulatorVersion(guest.architecture);
  if (!emulator.ok()) return std::nullopt;
  return guest::TemplateKey(guest, stop, *emulator);
}

std::optional<TemplatePool::Found> TemplatePool::Find(std::string_view key) {
  absl::MutexLock lock(&mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end() || found->second.made == nullptr) return std::nullopt;
  return Found{.key = std::string(key), .from = found->second.made, .mark = found->second.clones};
}

void TemplatePool::NoteUse(std::string_view key) {
  absl::MutexLock lock(&mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) {
    ++found->second.uses;
    found->second.last_used = ++counter_;
  }
}

std::optional<TemplatePool::Found> TemplatePool::Ask(const guest::GuestSpec& guest,
                                                     const guest::StopPoint& stop) {
  const std::optional<std::string> known = KeyOf(guest, stop);
  if (!known) return std::nullopt;
  const std::string& key = *known;
  absl::MutexLock lock(&mutex_);
  ForgetUnused();
  Entry& entry = entries_[key];
  ++entry.uses;
  entry.last_used = ++counter_;
  if (entry.made != nullptr) {
    return Found{.key = key, .from = entry.made, .mark = entry.clones};
  }
  if (entry.uses >= kUsesBeforeOne && entry.failures < kFailuresBeforeNone) {
    entry.wanted = Order{.maker = guest, .stop = stop};
  }
  return std::nullopt;
}

TemplatePool::CloneMark TemplatePool::MarkClone(std::string_view key) {
  if (key.empty()) return nullptr;
  absl::MutexLock lock(&mutex_);
  return entries_[std::string(key)].clones;
}

void TemplatePool::Reject(std::string_view key) {
  std::shared_ptr<const guest::Template> rejected;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return;
    rejected = std::exchange(found->second.made, nullptr);
    if (rejected != nullptr) ++found->second.failures;
  }
  if (rejected != nullptr) rejected->Discard();
}

TemplatePool::Starting::Starting(TemplatePool& pool, std::string_view owner)
    : pool_(pool), owner_(owner) {
  absl::MutexLock lock(&pool_.mutex_);
  ++pool_.starting_[owner_];
  if (pool_.making_for_ == owner_) pool_.cancel_.request_stop();
}

TemplatePool::Starting::~Starting() {
  absl::MutexLock lock(&pool_.mutex_);
  const auto found = pool_.starting_.find(owner_);
  if (--found->second == 0) pool_.starting_.erase(found);
}

void TemplatePool::SetHeld(bool held) {
  absl::MutexLock lock(&mutex_);
  held_ = held;
  if (held) cancel_.request_stop();
}

std::vector<std::string> TemplatePool::LockedKeys() const {
  std::vector<std::string> keys;
  for (const auto& [key, entry] : entries_) {
    if (entry.made != nullptr) keys.push_back(key);
  }
  return keys;
}

std::vector<std::string> TemplatePool::Keys() const {
  absl::MutexLock lock(&mutex_);
  return LockedKeys();
}

bool TemplatePool::Await(const std::function<bool(const std::vector<std::string>&)>& wanted,
                         absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return wanted(LockedKeys()); };
  return mutex_.AwaitWithTimeout(absl::Condition(&there), timeout);
}

// ---- the pool's own thread

void TemplatePool::Run() {
  AdoptAll();
  for (;;) {
    std::string key;
    Order order;
    std::stop_token cancel;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &TemplatePool::HasWork));
      if (stopping_) return;
      const auto next = NextWanted();
      key = next->first;
      order = *next->second.wanted;
      making_for_ = order.maker.owner;
      cancel_ = std::stop_source();
      cancel = cancel_.get_token();
    }
    Make(key, order, std::move(cancel));
    absl::MutexLock lock(&mutex_);
    making_for_.clear();
  }
}

bool TemplatePool::HasWork() { return stopping_ || NextWanted() != entries_.end(); }

TemplatePool::Entries::iterator TemplatePool::NextWanted() {
  auto next = entries_.end();
  if (held_) return next;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const auto& wanted = entry->second.wanted;
    if (!wanted || starting_.contains(wanted->maker.owner)) continue;
    if (next == entries_.end() || entry->second.last_used > next->second.last_used) next = entry;
  }
  return next;
}

void TemplatePool::Make(const std::string& key, const Order& order, std::stop_token cancel) {
  absl::StatusOr<std::shared_ptr<const guest::Template>> made;
  if (MakeRoom(order.maker.memory_mib)) {
    guest::Template::Order full{
        .key = key, .maker = order.maker, .stop = order.stop, .timeout = settings_.boot_timeout};
    // Named as a session's guest is: what a daemon that is killed leaves of it goes as theirs does.
    full.maker.id = NewId("vm");
    full.maker.directory = settings_.guests_directory / full.maker.id;
    made = guest::Template::Make(settings_.directory / NewId("t"), full, host_, cancel);
  } else {
    made = absl::ResourceExhaustedError("the budget for templates is taken by those in use");
  }
  absl::MutexLock lock(&mutex_);
  Entry& entry = entries_[key];
  if (made.ok()) {
    entry.made = *std::move(made);
    entry.wanted.reset();
    spdlog::info("template {} for {}: {}, {} MiB", key.substr(0, 12), order.maker.owner,
                 entry.made->stopped_at(), entry.made->resident_bytes() >> 20);
    return;
  }
  if (cancel.stop_requested()) return;  // still wanted, when its owner's session is up
  entry.wanted.reset();
  if (absl::IsResourceExhausted(made.status())) {
    entry.uses = 0;  // when it has been asked for as often again, there may be room
  } else {
    ++entry.failures;
  }
  spdlog::warn("no template for {}: {}", order.maker.owner, made.status().ToString());
}

bool TemplatePool::MakeRoom(std::int64_t memory_mib) {
  const std::int64_t limit = (settings_.memory_mib - memory_mib) << 20;
  for (;;) {
    std::shared_ptr<const guest::Template> oldest;
    {
      absl::MutexLock lock(&mutex_);
      std::int64_t taken = 0;
      Entry* candidate = nullptr;
      for (auto& [key, entry] : entries_) {
        if (entry.made == nullptr) continue;
        taken += entry.made->resident_bytes();
        if (entry.clones.use_count() > 1 || entry.made.use_count() > 1) continue;
        if (candidate == nullptr || entry.last_used < candidate->last_used) candidate = &entry;
      }
      if (taken <= limit) return true;
      if (candidate == nullptr) return false;
      oldest = std::exchange(candidate->made, nullptr);
      candidate->uses = 0;
    }
    oldest->Discard();
  }
}

void TemplatePool::AdoptAll() {
  if (settings_.directory.empty()) return;
  std::set<int> keepers;
  std::error_code error;
  std::vector<std::filesystem::path> folders;
  for (const auto& folder : std::filesystem::directory_iterator(settings_.directory, error)) {
    folders.push_back(folder.path());
  }
  for (const std::filesystem::path& folder : folders) {
    auto left = guest::Template::Adopt(folder);
    if (!left.ok() || settings_.memory_mib == 0) {
      spdlog::info("{} is no template any more: {}", folder.string(), left.status().ToString());
      if (left.ok()) (*left)->Discard();
      std::filesystem::remove_all(folder, error);
      continue;
    }
    keepers.insert((*left)->keeper_pid());
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_[(*left)->key()];
    entry.uses = kUsesBeforeOne;
    entry.wanted.reset();
    entry.made = *std::move(left);
  }
  guest::EndStrayKeepers(settings_.directory, keepers);
}

// Keys come from callers: whoever asks for another guest each time must not fill the memory.
void TemplatePool::ForgetUnused() {
  while (entries_.size() >= kRememberedKeys) {
    auto oldest = entries_.end();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      const Entry& its = entry->second;
      if (its.made != nullptr || its.wanted || its.clones.use_count() > 1) continue;
      if (oldest == entries_.end() || its.last_used < oldest->second.last_used) oldest = entry;
    }
    if (oldest == entries_.end()) return;
    entries_.erase(oldest);
  }
}

}  // namespace kdbg::session
