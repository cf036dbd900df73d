#include "server/service/gdb_talk.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_common.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kFrameBytes = 64 << 10;
// gdb asks and then reads; who asks for this much without reading is no gdb.
constexpr std::size_t kMaxUnreadBytes = std::size_t{4} << 20;

// What the door has said and the caller has not read. Written by the gateway's thread.
class Outbox {
 public:
  explicit Outbox(Waker waker) : waker_(std::move(waker)) {}

  void Put(std::string bytes) {
    {
      absl::MutexLock lock(&mutex_);
      if (bytes_.size() + bytes.size() > kMaxUnreadBytes) {
        overrun_ = true;
      } else {
        bytes_ += bytes;
      }
    }
    waker_();
  }

  void Close() {
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
    }
    waker_();
  }

  absl::StatusOr<Pull> Take(std::string* frame) {
    absl::MutexLock lock(&mutex_);
    if (overrun_) {
      return MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                       "answers for gdb were not read: attach again and read them");
    }
    if (bytes_.empty()) return closed_ ? Pull::kEnd : Pull::kWait;
    const std::size_t count = std::min(bytes_.size(), kFrameBytes);
    *frame = bytes_.substr(0, count);
    bytes_.erase(0, count);
    return Pull::kMessage;
  }

 private:
  const Waker waker_;
  absl::Mutex mutex_;
  std::string bytes_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool overrun_ ABSL_GUARDED_BY(mutex_) = false;
};

class StreamTalk final : public GdbTalk {
 public:
  StreamTalk(std::shared_ptr<gdb::Door> door, std::shared_ptr<Outbox> outbox,
             std::unique_ptr<gdb::ClientStream> stream)
      : door_(std::move(door)), outbox_(std::move(outbox)), stream_(std::move(stream)) {}

  absl::StatusOr<Pull> Take(const v1::GdbClientFrame& frame) override {
    if (frame.frame_case() != v1::GdbClientFrame::kRsp) {
      return InvalidField("frame", "", "only the first frame is `start`; those after it are `rsp`");
    }
    KDBG_RETURN_IF_ERROR(CheckSize("rsp", frame.rsp().size(), kFrameBytes));
    stream_->Send(frame.rsp());
    return Pull::kMessage;
  }

  // gdb is gone.
  Pull HalfClosed() override { return Pull::kEnd; }

  absl::StatusOr<Pull> Next(v1::GdbServerFrame* next) override {
    std::string bytes;
    KDBG_ASSIGN_OR_RETURN(const Pull pull, outbox_->Take(&bytes));
    if (pull == Pull::kMessage) next->set_rsp(std::move(bytes));
    return pull;
  }

 private:
  const std::shared_ptr<gdb::Door> door_;  // outlives its client
  const std::shared_ptr<Outbox> outbox_;
  const std::unique_ptr<gdb::ClientStream> stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GdbTalk>> MakeGdbTalk(std::shared_ptr<gdb::Door> door,
                                                     const std::string& user, Waker waker) {
  auto outbox = std::make_shared<Outbox>(std::move(waker));
  gdb::Door::StreamEvents events;
  events.to_client = [outbox](std::string bytes) { outbox->Put(std::move(bytes)); };
  events.closed = [outbox] { outbox->Close(); };
  KDBG_ASSIGN_OR_RETURN(auto stream, door->AttachStream({"user " + user}, std::move(events)));
  return std::make_unique<StreamTalk>(std::move(door), std::move(outbox), std::move(stream));
}

}  // namespace kdbg::service
