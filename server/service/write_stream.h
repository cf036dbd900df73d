// Server streams: messages are pulled from a Feed one at a time, each only after the one before it
// has left, so a reader that is slow or stands still costs one message of memory and no thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "proto/support/status_macros.h"
#include "server/service/call_gate.h"
#include "server/service/turns.h"

namespace kdbg::service {

using Waker = std::function<void()>;

// kWait: nothing now; the waker has been called or will be.
enum class Pull { kMessage, kWait, kEnd };

// Where a stream's messages come from; used by one thread at a time, may block for the disk.
// Subscribe in the constructor, before the first pull looks at the present state, and no change is
// missed.
template <typename Response>
class Feed {
 public:
  virtual ~Feed() = default;
  // Fills `next`, which is empty, when it answers kMessage. An error ends the stream with it.
  virtual absl::StatusOr<Pull> Next(Response* next) = 0;
};

absl::Status StatusOf(Turns::StopCause cause);

template <typename Response>
class WriteStream final : public grpc::ServerWriteReactor<Response> {
 public:
  // Asks call.Check and makes the feed; may block.
  using Open = std::function<absl::StatusOr<std::unique_ptr<Feed<Response>>>(Call&, Waker)>;

  static grpc::ServerWriteReactor<Response>* Start(CallGate& gate,
                                                   grpc::CallbackServerContext* context,
                                                   const RpcRule& rule, Open open) {
    auto* stream = new WriteStream(gate, context->peer(), rule, std::move(open));
    stream->turns_->Wake();
    return stream;
  }

  void OnWriteDone(bool ok) override {
    writing_ = false;
    if (ok) {
      turns_->Wake();
    } else {
      turns_->Stop(Turns::StopCause::kCancelled);
    }
  }
  void OnCancel() override { turns_->Stop(Turns::StopCause::kCancelled); }
  void OnDone() override { delete this; }

 private:
  WriteStream(CallGate& gate, std::string peer, const RpcRule& rule, Open open)
      : gate_(gate),
        peer_(std::move(peer)),
        rule_(rule),
        open_(std::move(open)),
        turns_(std::make_shared<Turns>(gate.streams(), [this] { return Turn(); })) {}

  Turns::After Turn() {
    if (writing_) return Turns::After::kGoOn;
    if (const auto cause = turns_->stop_cause(); cause != Turns::StopCause::kNone) {
      return End(StatusOf(cause));
    }
    if (!feed_) {
      if (absl::Status status = Enter(); !status.ok()) return End(std::move(status));
    }
    message_.Clear();
    const absl::StatusOr<Pull> pull = feed_->Next(&message_);
    if (!pull.ok()) return End(pull.status());
    if (*pull == Pull::kEnd) return End(absl::OkStatus());
    if (*pull == Pull::kMessage) {
      writing_ = true;
      this->StartWrite(&message_);
    }
    return Turns::After::kGoOn;
  }

  absl::Status Enter() {
    KDBG_ASSIGN_OR_RETURN(Call call, gate_.Enter(rule_, peer_));
    call_ = std::make_unique<Call>(std::move(call));
    KDBG_ASSIGN_OR_RETURN(place_, gate_.EnterStream(*call_, turns_));
    KDBG_ASSIGN_OR_RETURN(feed_, open_(*call_, turns_->Waker()));
    return absl::OkStatus();
  }

  // After Finish this object may be gone.
  Turns::After End(absl::Status status) {
    feed_.reset();
    place_ = StreamPlace();
    if (call_) status = gate_.Leave(*call_, std::move(status));
    this->Finish(ToGrpcStatus(status));
    return Turns::After::kOver;
  }

  CallGate& gate_;
  const std::string peer_;
  const RpcRule& rule_;
  const Open open_;
  std::unique_ptr<Call> call_;
  StreamPlace place_;
  std::unique_ptr<Feed<Response>> feed_;
  Response message_;
  std::atomic<bool> writing_ = false;
  const std::shared_ptr<Turns> turns_;
};

}  // namespace kdbg::service
