// A list of callbacks and the handles that keep them in it.
//
// Thread-safe. Notify calls each listener on the notifying thread, outside the list's lock;
// dropping a Subscription waits for a call in progress on another thread, so that afterwards the
// listener is never called again. A listener may drop its own subscription, and may subscribe
// others.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kdbg {

// Move-only; abandoning it unsubscribes.
class Subscription {
 public:
  Subscription() = default;
  explicit Subscription(std::function<void()> end) : end_(std::move(end)) {}
  Subscription(Subscription&& other) noexcept : end_(std::exchange(other.end_, nullptr)) {}
  Subscription& operator=(Subscription&& other) noexcept {
    if (this != &other) {
      Reset();
      end_ = std::exchange(other.end_, nullptr);
    }
    return *this;
  }
  ~Subscription() { Reset(); }

  void Reset() {
    if (auto end = std::exchange(end_, nullptr)) end();
  }

 private:
  std::function<void()> end_;
};

template <typename... Args>
class Subscribers {
 public:
  using Listener = std::function<void(Args...)>;

  [[nodiscard]] Subscription Add(Listener listener) {
    auto entry = std::make_shared<Entry>();
    entry->listener = std::move(listener);
    absl::MutexLock lock(&list_->mutex);
    const std::uint64_t id = list_->next_id++;
    list_->entries.emplace(id, entry);
    return Subscription([list = std::weak_ptr<List>(list_), entry, id] {
      if (auto alive = list.lock()) {
        absl::MutexLock lock(&alive->mutex);
        alive->entries.erase(id);
      }
      entry->End();
    });
  }

  void Notify(Args... args) const {
    std::vector<std::shared_ptr<Entry>> entries;
    {
      absl::MutexLock lock(&list_->mutex);
      entries.reserve(list_->entries.size());
      for (const auto& [id, entry] : list_->entries) entries.push_back(entry);
    }
    for (const auto& entry : entries) entry->Call(args...);
  }

 private:
  class Entry {
   public:
    Listener listener;

    void Call(const Args&... args) {
      {
        absl::MutexLock lock(&mutex_);
        if (ended_) return;
        callers_.push_back(std::this_thread::get_id());
      }
      listener(args...);
      absl::MutexLock lock(&mutex_);
      std::erase(callers_, std::this_thread::get_id());
    }

    void End() {
      Others others{this, std::this_thread::get_id()};
      absl::MutexLock lock(&mutex_);
      ended_ = true;
      mutex_.Await(absl::Condition(
          +[](Others* o) ABSL_NO_THREAD_SAFETY_ANALYSIS {
            return std::count(o->entry->callers_.begin(), o->entry->callers_.end(), o->self) ==
                   static_cast<std::ptrdiff_t>(o->entry->callers_.size());
          },
          &others));
    }

   private:
    // The condition may be evaluated by any thread that unlocks, hence the id taken beforehand.
    struct Others {
      Entry* entry;
      std::thread::id self;
    };

    absl::Mutex mutex_;
    bool ended_ ABSL_GUARDED_BY(mutex_) = false;
    std::vector<std::thread::id> callers_ ABSL_GUARDED_BY(mutex_);
  };

  struct List {
    absl::Mutex mutex;
    std::uint64_t next_id ABSL_GUARDED_BY(mutex) = 1;
    std::map<std::uint64_t, std::shared_ptr<Entry>> entries ABSL_GUARDED_BY(mutex);
  };
  std::shared_ptr<List> list_ = std::make_shared<List>();
};

}  // namespace kdbg
