// Bidirectional streams: a terminal, gdb. The first message says what the stream is about. One
// message is in flight each way: the next is read when the last has been taken, written when the
// last has left.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
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
    auto* stream = new DuplexStream(gate, context->peer(), rule, std::move(open));
    stream->turns_->Wake();
    return stream;
  }

  void OnReadDone(bool ok) override {
    incoming_ = ok ? Incoming::kArrived : Incoming::kHalfClosed;
    turns_->Wake();
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
  enum class Incoming { kNotAsked, kAsked, kArrived, kHalfClosed, kOver };

  DuplexStream(CallGate& gate, std::string peer, const RpcRule& rule, Open open)
      : gate_(gate),
        peer_(std::move(peer)),
        rule_(rule),
        open_(std::move(open)),
        turns_(std::make_shared<Turns>(gate.streams(), [this] { return Turn(); })) {}

  Turns::After Turn() {
    if (const auto cause = turns_->stop_cause();
        cause != Turns::StopCause::kNone && status_.ok() && !over_) {
      Over(StatusOf(cause));
    }
    if (!over_ && !call_) {
      if (absl::Status status = Enter(); !status.ok()) Over(std::move(status));
    }
    if (!over_) Read();
    if (!over_ && talk_ && !writing_) Write();
    if (!over_ || writing_) return Turns::After::kGoOn;
    if (call_) status_ = gate_.Leave(*call_, std::move(status_));
    this->Finish(ToGrpcStatus(status_));
    return Turns::After::kOver;
  }

  absl::Status Enter() {
    KDBG_ASSIGN_OR_RETURN(Call call, gate_.Enter(rule_, peer_));
    call_ = std::make_unique<Call>(std::move(call));
    KDBG_ASSIGN_OR_RETURN(place_, gate_.EnterStream(*call_, turns_));
    Ask();
    return absl::OkStatus();
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
      auto talk = open_(*call_, request_, turns_->Waker());
      if (!talk.ok()) return Over(talk.status());
      talk_ = *std::move(talk);
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
    place_ = StreamPlace();
  }

  CallGate& gate_;
  const std::string peer_;
  const RpcRule& rule_;
  const Open open_;
  std::unique_ptr<Call> call_;
  StreamPlace place_;
  std::unique_ptr<Talk<Request, Response>> talk_;
  Request request_;
  Response response_;
  std::atomic<Incoming> incoming_ = Incoming::kNotAsked;
  std::atomic<bool> writing_ = false;
  bool over_ = false;
  absl::Status status_;
  const std::shared_ptr<Turns> turns_;
};

}  // namespace kdbg::service
