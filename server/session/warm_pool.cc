#include "server/session/warm_pool.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

#include "server/base/ids.h"
#include "server/gdb/stub_link.h"
#include "server/observe/log.h"

namespace kdbg::session {
namespace {

constexpr std::size_t kMostOfAKind = 5;
constexpr std::size_t kRememberedKinds = 64;

bool Lives(const MadeGuest& made) { return !made.guest->stub_link()->lost(); }

void End(const MadeGuest& made) {
  if (const absl::Status gone = made.guest->Destroy(); !gone.ok()) {
    spdlog::error("{}, made ahead, could not be removed: {}", made.guest->spec().id,
                  gone.ToString());
  }
}

}  // namespace

WarmPool::WarmPool(TemplatePool& templates, const guest::GuestHost& host, Settings settings)
    : templates_(templates),
      host_(host),
      settings_(std::move(settings)),
      thread_([this] { Run(); }) {}

WarmPool::~WarmPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
  std::vector<std::thread> ends;
  {
    absl::MutexLock lock(&mutex_);
    for (auto& [key, kind] : kinds_) {
      std::ranges::move(kind.ready, std::back_inserter(surplus_));
    }
    for (MadeGuest& made : surplus_) ends.emplace_back([made = std::move(made)] { End(made); });
  }
  for (std::thread& end : ends) end.join();
}

void WarmPool::KeepReady(const guest::GuestSpec& guest, const guest::StopPoint& stop) {
  const std::optional<std::string> key = templates_.KeyOf(guest, stop);
  if (settings_.memory_mib == 0 || !key) return;
  absl::MutexLock lock(&mutex_);
  if (!kinds_.contains(*key) && kinds_.size() >= kRememberedKinds) {
    const auto idle =
        std::ranges::find_if(kinds_, [](const auto& known) { return known.second.ready.empty(); });
    if (idle == kinds_.end()) return;
    kinds_.erase(idle);
  }
  Kind& kind = kinds_[*key];
  kind.guest = guest;
  kind.last_used = ++counter_;
  kind.failed = false;
}

std::optional<MadeGuest> WarmPool::Take(const guest::GuestSpec& guest,
                                        const guest::StopPoint& stop) {
  if (settings_.memory_mib == 0) return std::nullopt;
  const std::optional<std::string> key = templates_.KeyOf(guest, stop);
  if (!key) return std::nullopt;
  std::optional<MadeGuest> taken;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = kinds_.find(*key);
    if (found == kinds_.end()) return std::nullopt;
    std::deque<MadeGuest>& ready = found->second.ready;
    while (!ready.empty() && !Lives(ready.front())) {  // somebody killed its machine
      surplus_.push_back(std::move(ready.front()));
      ready.pop_front();
    }
    if (ready.empty()) return std::nullopt;
    found->second.last_used = ++counter_;
    taken = std::move(ready.front());
    ready.pop_front();
  }
  templates_.NoteUse(*key);
  return taken;
}

void WarmPool::SetHeld(bool held) {
  absl::MutexLock lock(&mutex_);
  held_ = held;
}

bool WarmPool::Await(std::size_t count, absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    std::size_t ready = 0;
    for (const auto& [key, kind] : kinds_) ready += kind.ready.size();
    return ready == count;
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&there), timeout);
}

// ---- the pool's own thread

void WarmPool::Run() {
  for (;;) {
    Step step;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &WarmPool::HasWork));
      if (stopping_) return;
      step = NextStep();
    }
    if (step.surplus) End(*step.surplus);
    if (!step.key.empty()) Make(step.key, std::move(step.guest));
  }
}

bool WarmPool::HasWork() const {
  if (stopping_ || !surplus_.empty()) return true;
  const std::map<std::string, std::size_t> targets = Targets();
  return std::ranges::any_of(kinds_, [&](const auto& known) {
    return known.second.ready.size() != targets.at(known.first);
  });
}

WarmPool::Step WarmPool::NextStep() {
  Step step;
  const std::map<std::string, std::size_t> targets = Targets();
  for (auto& [key, kind] : kinds_) {
    for (; kind.ready.size() > targets.at(key); kind.ready.pop_back()) {
      surplus_.push_back(std::move(kind.ready.back()));
    }
  }
  if (!surplus_.empty()) {
    step.surplus = std::move(surplus_.front());
    surplus_.pop_front();
    return step;
  }
  std::int64_t newest = -1;
  for (const auto& [key, kind] : kinds_) {
    if (kind.ready.size() >= targets.at(key) || kind.last_used <= newest) continue;
    newest = kind.last_used;
    step.key = key;
    step.guest = kind.guest;
  }
  return step;
}

std::map<std::string, std::size_t> WarmPool::Targets() const {
  std::vector<const Kinds::value_type*> recent;
  for (const auto& known : kinds_) recent.push_back(&known);
  std::ranges::sort(recent, std::greater<>(),
                    [](const auto* known) { return known->second.last_used; });
  std::map<std::string, std::size_t> targets;
  std::int64_t left = settings_.memory_mib;
  for (const auto* known : recent) {
    const auto fit = static_cast<std::size_t>(left / known->second.guest.memory_mib);
    const std::size_t count = held_ || known->second.failed ? 0 : std::min(kMostOfAKind, fit);
    targets[known->first] = count;
    left -= static_cast<std::int64_t>(count) * known->second.guest.memory_mib;
  }
  return targets;
}

void WarmPool::Make(const std::string& key, guest::GuestSpec guest) {
  guest.id = NewId("vm");
  guest.directory = settings_.guests_directory / guest.id;
  const std::optional<TemplatePool::Found> found = templates_.Find(key);
  absl::StatusOr<MadeGuest> made =
      found ? CloneOf(*found, guest, host_, {}) : absl::NotFoundError("its template has gone");
  absl::MutexLock lock(&mutex_);
  const auto kind = kinds_.find(key);
  if (!made.ok()) {
    spdlog::info("no guest is made ahead for {}: {}", guest.owner, made.status().ToString());
    if (kind != kinds_.end()) kind->second.failed = true;
    return;
  }
  made->origin = Origin::kWarm;
  if (kind == kinds_.end()) {
    surplus_.push_back(*std::move(made));
  } else {
    kind->second.ready.push_back(*std::move(made));
  }
}

}  // namespace kdbg::session
