// Who wants to hear of an event: a list of callbacks with handles that end them.
//
// Thread-safe. A listener is called by the thread that notifies, one call at a time, under no lock
// of the notifier. Once its handle is destroyed it is not called again; destroying waits for a call
// that is under way on another thread, so never destroy one under a lock that the listener itself
// takes.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace kdbg {

class Subscription {
 public:
  Subscription() = default;
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;
  virtual ~Subscription() = default;
};

template <typename Event>
class Listeners {
 public:
  using Listener = std::function<void(const Event&)>;

  // The handle may outlive this list.
  [[nodiscard]] std::unique_ptr<Subscription> Add(Listener listener);
  void Notify(const Event& event) const;

 private:
  struct Entry {
    std::recursive_mutex calling;  // recursive: a listener may end its own subscription
    Listener listener;
  };
  class Handle final : public Subscription {
   public:
    explicit Handle(std::shared_ptr<Entry> entry) : entry_(std::move(entry)) {}
    ~Handle() override {
      const std::lock_guard lock(entry_->calling);
      dead_ = std::exchange(entry_->listener, nullptr);
    }

   private:
    std::shared_ptr<Entry> entry_;
    Listener dead_;  // what it captured goes after the lock
  };

  mutable std::mutex mutex_;
  mutable std::vector<std::weak_ptr<Entry>> entries_;
};

// ---- Inline implementations

template <typename Event>
std::unique_ptr<Subscription> Listeners<Event>::Add(Listener listener) {
  auto entry = std::make_shared<Entry>();
  entry->listener = std::move(listener);
  const std::lock_guard lock(mutex_);
  entries_.push_back(entry);
  return std::make_unique<Handle>(std::move(entry));
}

template <typename Event>
void Listeners<Event>::Notify(const Event& event) const {
  std::vector<std::shared_ptr<Entry>> live;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [](const auto& entry) { return entry.expired(); });
    for (const auto& weak : entries_) {
      if (auto entry = weak.lock()) live.push_back(std::move(entry));
    }
  }
  for (const auto& entry : live) {
    const std::lock_guard lock(entry->calling);
    // A copy: the listener may end its own subscription and with it the function that runs.
    if (const Listener listener = entry->listener) listener(event);
  }
}

}  // namespace kdbg
