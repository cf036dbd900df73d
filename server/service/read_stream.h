// Client streams: an upload. One message is read at a time and the next only when it has been dealt
// with, so that a fast sender waits for the disk and costs one message of memory.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "proto/contract/error.h"
#include "server/service/stream_call.h"

namespace kdbg::service {

// Where a stream's messages go; used by one thread at a time, may block for the disk. Destroyed
// without End when the stream breaks.
template <typename Request, typename Response>
class Sink {
 public:
  virtual ~Sink() = default;
  virtual absl::Status Take(const Request& message) = 0;
  // The client sent everything.
  virtual absl::Status End(Response* response) = 0;
  // How long the next message is not to be read.
  virtual absl::Duration Pause() { return absl::ZeroDuration(); }
};

template <typename Request, typename Response>
class ReadStream final : public grpc::ServerReadReactor<Request> {
 public:
  // Makes the sink from the first message, which it is also the first to be given.
  using Open = std::function<absl::StatusOr<std::unique_ptr<Sink<Request, Response>>>(
      Call&, const Request& first)>;

  static grpc::ServerReadReactor<Request>* Start(CallGate& gate,
                                                 grpc::CallbackServerContext* context,
                                                 const RpcRule& rule, Response* response,
                                                 Open open) {
    auto* stream = new ReadStream(gate, context, rule, response, std::move(open));
    stream->call_.Wake();
    return stream;
  }

  void OnReadDone(bool ok) override {
    incoming_ = ok ? Incoming::kArrived : Incoming::kHalfClosed;
    call_.Wake();
  }
  void OnCancel() override { call_.Cancel(); }
  void OnDone() override { delete this; }

 private:
  enum class Incoming { kAsked, kArrived, kHalfClosed, kNotYet };

  ReadStream(CallGate& gate, grpc::CallbackServerContext* context, const RpcRule& rule,
             Response* response, Open open)
      : context_(context),
        response_(response),
        open_(std::move(open)),
        call_(gate, *context, rule, [this] { return Turn(); }) {}

  Turns::After Turn() {
    if (absl::Status stop = call_.stop_status(); !stop.ok()) return End(std::move(stop));
    if (!call_.entered()) {
      if (absl::Status status = call_.Enter(); !status.ok()) return End(std::move(status));
      Ask();
      return Turns::After::kGoOn;
    }
    if (incoming_ == Incoming::kAsked) return Turns::After::kGoOn;
    if (incoming_ == Incoming::kNotYet) {
      if (absl::Now() >= next_read_) Ask();
      return Turns::After::kGoOn;
    }
    if (incoming_ == Incoming::kHalfClosed) {
      // A connection that broke reads like an end; the cancel may not have come through yet.
      if (context_->IsCancelled()) return End(absl::CancelledError("the caller went away"));
      if (!sink_) return End(InvalidField("request", "", "the stream holds no message"));
      return End(sink_->End(response_));
    }
    if (!sink_) {
      auto sink = open_(call_.call(), request_);
      if (!sink.ok()) return End(sink.status());
      sink_ = *std::move(sink);
    }
    if (absl::Status status = sink_->Take(request_); !status.ok()) return End(std::move(status));
    if (const absl::Duration pause = sink_->Pause(); pause > absl::ZeroDuration()) {
      AskAfter(pause);
    } else {
      Ask();
    }
    return Turns::After::kGoOn;
  }

  // The sender's window fills meanwhile, and it waits.
  void AskAfter(absl::Duration pause) {
    incoming_ = Incoming::kNotYet;
    next_read_ = absl::Now() + pause;
    alarm_.Set(absl::ToChronoTime(next_read_), [wake = call_.waker()](bool) { wake(); });
  }

  void Ask() {
    incoming_ = Incoming::kAsked;
    this->StartRead(&request_);
  }

  // After Finish this object may be gone.
  Turns::After End(absl::Status status) {
    sink_.reset();
    this->Finish(call_.Leave(std::move(status)));
    return Turns::After::kOver;
  }

  grpc::CallbackServerContext* const context_;
  Response* const response_;
  const Open open_;
  std::unique_ptr<Sink<Request, Response>> sink_;
  Request request_;
  std::atomic<Incoming> incoming_ = Incoming::kAsked;
  absl::Time next_read_;
  grpc::Alarm alarm_;
  StreamCall call_;
};

}  // namespace kdbg::service
