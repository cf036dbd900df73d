// That who began a stream may still do what it does: its session's owner may take a share back
// while it runs.
//
// Used by the stream's turns, as the feeds it guards.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/status_macros.h"
#include "server/base/subscribers.h"
#include "server/service/duplex_stream.h"
#include "server/service/snapshot_feed.h"
#include "server/service/write_stream.h"

namespace kdbg::service {

class StandingRight {
 public:
  using Ask = std::function<absl::Status()>;

  // `changes` raises `changed`, and was made before this.
  StandingRight(std::shared_ptr<ChangeFlag> changed, Subscription changes, Ask ask)
      : changed_(std::move(changed)), changes_(std::move(changes)), ask_(std::move(ask)) {}

  // Asks again only after a change.
  absl::Status Check() { return changed_->Lower() ? ask_() : absl::OkStatus(); }

 private:
  std::shared_ptr<ChangeFlag> changed_;
  Subscription changes_;
  Ask ask_;
};

template <typename Response>
class GuardedFeed final : public Feed<Response> {
 public:
  GuardedFeed(StandingRight right, std::unique_ptr<Feed<Response>> feed)
      : right_(std::move(right)), feed_(std::move(feed)) {}

  absl::StatusOr<Pull> Next(Response* next) override {
    KDBG_RETURN_IF_ERROR(right_.Check());
    return feed_->Next(next);
  }

 private:
  StandingRight right_;
  const std::unique_ptr<Feed<Response>> feed_;
};

template <typename Request, typename Response>
class GuardedTalk final : public Talk<Request, Response> {
 public:
  GuardedTalk(StandingRight right, std::unique_ptr<Talk<Request, Response>> talk)
      : right_(std::move(right)), talk_(std::move(talk)) {}

  absl::StatusOr<Pull> Take(const Request& message) override {
    KDBG_RETURN_IF_ERROR(right_.Check());
    return talk_->Take(message);
  }
  Pull HalfClosed() override { return talk_->HalfClosed(); }
  absl::StatusOr<Pull> Next(Response* next) override {
    KDBG_RETURN_IF_ERROR(right_.Check());
    return talk_->Next(next);
  }

 private:
  StandingRight right_;
  const std::unique_ptr<Talk<Request, Response>> talk_;
};

}  // namespace kdbg::service
