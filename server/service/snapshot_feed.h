// Watch*: the whole resource first, then again at each change, ends at a final state. Reads the
// present state at each change, so a slow reader sees fewer steps and never stale ones.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "server/base/subscribers.h"
#include "server/service/write_stream.h"

namespace kdbg::service {

// Whether a resource may have changed since it was last looked at; raising it wakes the stream. A
// message tells the time (how long a build has run), so comparing messages would call every look a
// change.
class ChangeFlag {
 public:
  explicit ChangeFlag(Waker waker) : waker_(std::move(waker)) {}

  void Raise() {
    raised_ = true;
    waker_();
  }
  bool Lower() { return raised_.exchange(false); }

 private:
  const Waker waker_;
  std::atomic<bool> raised_ = true;  // nobody has looked yet
};

template <typename Response>
class SnapshotFeed final : public Feed<Response> {
 public:
  // Fills the message; whether the state is final.
  using Load = std::function<absl::StatusOr<bool>(Response*)>;

  // `changes` raises `changed`, and was made before this.
  SnapshotFeed(std::shared_ptr<ChangeFlag> changed, Subscription changes, Load load)
      : changed_(std::move(changed)), changes_(std::move(changes)), load_(std::move(load)) {}

  absl::StatusOr<Pull> Next(Response* next) override {
    if (final_) return Pull::kEnd;
    if (!changed_->Lower()) return Pull::kWait;
    KDBG_ASSIGN_OR_RETURN(final_, load_(next));
    return Pull::kMessage;
  }

 private:
  const std::shared_ptr<ChangeFlag> changed_;
  const Subscription changes_;
  const Load load_;
  bool final_ = false;
};

}  // namespace kdbg::service
