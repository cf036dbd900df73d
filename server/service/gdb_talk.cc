#include "server/service/gdb_talk.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_common.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kFrameBytes = 64 << 10;
constexpr int kAheadFrames = 2;  // from this version of frames on
// gdb asks and then reads; who asks for this much without reading is no gdb.
constexpr std::size_t kMaxUnreadBytes = std::size_t{4} << 20;

// What the door has said and the caller has not read, in its order. Written by the gateway's
// thread.
class Outbox {
 public:
  explicit Outbox(Waker waker) : waker_(std::move(waker)) {}

  void Put(std::string bytes) {
    const std::size_t size = bytes.size();
    Put(std::move(bytes), size);
  }
  void Put(gdb::Ahead ahead) {
    std::size_t size = 0;
    for (const auto& answer : ahead.answers) size += answer.packet.size() + answer.reply.size();
    for (const auto& memory : ahead.memory) size += memory.bytes.size();
    Put(std::move(ahead), size);
  }

  void Close() {
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
    }
    waker_();
  }

  absl::StatusOr<Pull> Take(v1::GdbServerFrame* frame) {
    absl::MutexLock lock(&mutex_);
    if (overrun_) {
      return MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                       "answers for gdb were not read: attach again and read them");
    }
    if (items_.empty()) return closed_ ? Pull::kEnd : Pull::kWait;
    if (auto* ahead = std::get_if<gdb::Ahead>(&items_.front().content)) {
      ToFrame(std::move(*ahead), frame);
    } else {
      std::string& bytes = std::get<std::string>(items_.front().content);
      const std::size_t count = std::min(bytes.size(), kFrameBytes);
      frame->set_rsp(bytes.substr(0, count));
      bytes.erase(0, count);
      items_.front().size -= count;
      unread_ -= count;
      if (!bytes.empty()) return Pull::kMessage;
    }
    unread_ -= items_.front().size;
    items_.pop_front();
    return Pull::kMessage;
  }

 private:
  struct Item {
    std::variant<std::string, gdb::Ahead> content;
    std::size_t size;
  };

  template <typename Content>
  void Put(Content content, std::size_t size) {
    {
      absl::MutexLock lock(&mutex_);
      if (unread_ + size > kMaxUnreadBytes) {
        overrun_ = true;
      } else {
        unread_ += size;
        items_.push_back({std::move(content), size});
      }
    }
    waker_();
  }

  static void ToFrame(gdb::Ahead from, v1::GdbServerFrame* frame) {
    if (from.empty()) return frame->mutable_invalidate()->set_epoch(from.epoch);
    v1::GdbServerFrame::Ahead& to = *frame->mutable_ahead();
    to.set_epoch(from.epoch);
    to.set_thread(from.thread);
    for (gdb::Ahead::Answer& answer : from.answers) {
      auto* added = to.add_answers();
      added->set_packet(std::move(answer.packet));
      added->set_reply(std::move(answer.reply));
      added->set_lasting(answer.lasting);
    }
    for (gdb::Ahead::Memory& memory : from.memory) {
      auto* added = to.add_memory();
      added->set_address(memory.address);
      added->set_data(std::move(memory.bytes));
    }
  }

  const Waker waker_;
  absl::Mutex mutex_;
  std::deque<Item> items_ ABSL_GUARDED_BY(mutex_);
  std::size_t unread_ ABSL_GUARDED_BY(mutex_) = 0;
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

  absl::StatusOr<Pull> Next(v1::GdbServerFrame* next) override { return outbox_->Take(next); }

 private:
  const std::shared_ptr<gdb::Door> door_;  // outlives its client
  const std::shared_ptr<Outbox> outbox_;
  const std::unique_ptr<gdb::ClientStream> stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GdbTalk>> MakeGdbTalk(std::shared_ptr<gdb::Door> door,
                                                     const std::string& user,
                                                     const v1::GdbClientFrame::Start& start,
                                                     Waker waker) {
  auto outbox = std::make_shared<Outbox>(std::move(waker));
  gdb::Door::StreamEvents events;
  events.to_client = [outbox](std::string bytes) { outbox->Put(std::move(bytes)); };
  if (start.frame_version() >= kAheadFrames) {
    events.ahead_to_client = [outbox](gdb::Ahead ahead) { outbox->Put(std::move(ahead)); };
  }
  events.closed = [outbox] { outbox->Close(); };
  KDBG_ASSIGN_OR_RETURN(auto stream,
                        door->AttachStream({"user " + user}, std::move(events),
                                           start.take_over() ? gdb::Door::IfHeld::kTakeOver
                                                             : gdb::Door::IfHeld::kRefuse));
  return std::make_unique<StreamTalk>(std::move(door), std::move(outbox), std::move(stream));
}

}  // namespace kdbg::service
