// Bidirectional streams: a terminal, gdb. The first message says what the stream is about. One
// message is in flight each way: the next is read when the last has been taken, written when the
// last has left.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/service/write_stream.h"

namespace kdbg::service {

// Both ends of one conversation; used by one thread at a time.
template <typename Request, typename Response>
class Talk : public Feed<Response> {
 public:
  // Kept waiting (kWait), the message is offered again at the next wake.
  virtual absl::StatusOr<Pull> Take(const Request& message) = 0;
  // The client will send no more; one that vanished may look like this for a moment. kEnd ends the
  // stream; kWait goes on writing.
  virtual Pull HalfClosed() = 0;
};

template <typename Request, typename Response>
class DuplexStream final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  using Open = std::function<absl::StatusOr<std::unique_ptr<Talk<Request, Response>>>(
      Call&, const Request& first, Waker)>;

  static grpc::ServerBidiReactor<Request, Response>* Start(CallGate& gate,
                                                           grpc::CallbackServerContext* context,
                                                           const RpcRule& rule, Open open) {
    auto* stream = new DuplexStream(gate, *context, rule, std::move(open));
    stream->call_.Wake();
    return stream;
  }

  void OnReadDone(bool ok) override {
    incoming_ = ok ? Incoming::kArrived : Incoming::kHalfClosed;
    call_.Wake();
  }
  void OnWriteDone(bool ok) override {
    writing_ = false;
    call_.Written(ok);
  }
  void OnCancel() override { call_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  enum class Incoming { kNotAsked, kAsked, kArrived, kHalfClosed, kOver };

  DuplexStream(CallGate& gate, const grpc::CallbackServerContext& context, const RpcRule& rule,
               Open open)
      : open_(std::move(open)), call_(gate, context, rule, [this] { return Turn(); }) {}

  Turns::After Turn() {
    if (absl::Status stop = call_.stop_status(); !stop.ok() && !over_) Over(std::move(stop));
    if (!over_ && !call_.entered()) {
      if (absl::Status status = call_.Enter(); !status.ok()) {
        Over(std::move(status));
      } else {
        Ask();
      }
    }
    if (!over_) Read();
    if (!over_ && talk_ && !writing_) Write();
    if (!over_ || writing_) return Turns::After::kGoOn;
    this->Finish(call_.Leave(std::move(status_)));
    return Turns::After::kOver;
  }

  void Ask() {
    incoming_ = Incoming::kAsked;
    this->StartRead(&request_);
  }

  void Read() {
    if (incoming_ == Incoming::kHalfClosed) {
      incoming_ = Incoming::kOver;
      if (!talk_ || talk_->HalfClosed() == Pull::kEnd) Over(absl::OkStatus());
      return;
    }
    if (incoming_ != Incoming::kArrived) return;
    if (!talk_) {
      auto talk = open_(call_.call(), request_, call_.waker());
      if (!talk.ok()) return Over(talk.status());
      talk_ = *std::move(talk);
      call_.Begin();
      return Ask();
    }
    const absl::StatusOr<Pull> taken = talk_->Take(request_);
    if (!taken.ok()) return Over(taken.status());
    if (*taken == Pull::kEnd) return Over(absl::OkStatus());
    if (*taken == Pull::kMessage) Ask();
  }

  void Write() {
    response_.Clear();
    const absl::StatusOr<Pull> pull = talk_->Next(&response_);
    if (!pull.ok()) return Over(pull.status());
    if (*pull == Pull::kEnd) return Over(absl::OkStatus());
    if (*pull == Pull::kMessage) {
      writing_ = true;
      this->StartWrite(&response_);
    }
  }

  // What the talk holds (gdb's place, the console) is free at once, even while a last message is on
  // its way.
  void Over(absl::Status status) {
    over_ = true;
    status_ = std::move(status);
    talk_.reset();
    call_.FreePlace();
  }

  const Open open_;
  std::unique_ptr<Talk<Request, Response>> talk_;
  Request request_;
  Response response_;
  std::atomic<Incoming> incoming_ = Incoming::kNotAsked;
  std::atomic<bool> writing_ = false;
  bool over_ = false;
  absl::Status status_;
  StreamCall call_;
};

}  // namespace kdbg::service
