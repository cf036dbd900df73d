// Watch*: the whole resource first, then again at each change, ends at a final state. Reads the
// present state at each wake, so a slow reader sees fewer steps and never stale ones.
#pragma once

#include <google/protobuf/util/message_differencer.h>

#include <functional>
#include <utility>

#include "server/base/subscribers.h"
#include "server/service/write_stream.h"

namespace kdbg::service {

template <typename Response>
class SnapshotFeed final : public Feed<Response> {
 public:
  // Fills the message; whether the state is final.
  using Load = std::function<absl::StatusOr<bool>(Response*)>;

  SnapshotFeed(Subscription changes, Load load)
      : changes_(std::move(changes)), load_(std::move(load)) {}

  absl::StatusOr<Pull> Next(Response* next) override {
    if (final_) return Pull::kEnd;
    KDBG_ASSIGN_OR_RETURN(final_, load_(next));
    if (sent_ && google::protobuf::util::MessageDifferencer::Equals(*next, last_)) {
      return final_ ? Pull::kEnd : Pull::kWait;
    }
    sent_ = true;
    last_ = *next;
    return Pull::kMessage;
  }

 private:
  const Subscription changes_;
  const Load load_;
  Response last_;
  bool sent_ = false;
  bool final_ = false;
};

}  // namespace kdbg::service
