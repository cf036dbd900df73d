// Server streams: messages are pulled from a Feed one at a time, each only after the one before it
// has left, so a reader that is slow or stands still costs one message of memory and no thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/status_macros.h"
#include "server/service/stream_call.h"

namespace kdbg::service {

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

template <typename Response>
class WriteStream final : public grpc::ServerWriteReactor<Response> {
 public:
  // Asks call.Check and makes the feed; may block.
  using Open = std::function<absl::StatusOr<std::unique_ptr<Feed<Response>>>(Call&, Waker)>;

  static grpc::ServerWriteReactor<Response>* Start(CallGate& gate,
                                                   grpc::CallbackServerContext* context,
                                                   const RpcRule& rule, Open open) {
    auto* stream = new WriteStream(gate, *context, rule, std::move(open));
    stream->call_.Wake();
    return stream;
  }

  void OnWriteDone(bool ok) override {
    writing_ = false;
    call_.Written(ok);
  }
  void OnCancel() override { call_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  WriteStream(CallGate& gate, const grpc::CallbackServerContext& context, const RpcRule& rule,
              Open open)
      : open_(std::move(open)), call_(gate, context, rule, [this] { return Turn(); }) {}

  Turns::After Turn() {
    if (writing_) return Turns::After::kGoOn;
    if (absl::Status stop = call_.stop_status(); !stop.ok()) return End(std::move(stop));
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
    KDBG_RETURN_IF_ERROR(call_.Enter());
    KDBG_ASSIGN_OR_RETURN(feed_, open_(call_.call(), call_.waker()));
    return absl::OkStatus();
  }

  // After Finish this object may be gone.
  Turns::After End(absl::Status status) {
    feed_.reset();
    this->Finish(call_.Leave(std::move(status)));
    return Turns::After::kOver;
  }

  const Open open_;
  std::unique_ptr<Feed<Response>> feed_;
  Response message_;
  std::atomic<bool> writing_ = false;
  StreamCall call_;
};

}  // namespace kdbg::service
