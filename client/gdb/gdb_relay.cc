#include "client/gdb/gdb_relay.h"

#include <poll.h>
#include <sys/ioctl.h>

#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/accel/accelerator.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

constexpr int kFrameVersion = 2;  // the newest frames we understand

// One end of the relay at a time: what an answer leads to is said before the next thing is read.
class Junction {
 public:
  Junction(grpc::ClientReaderWriter<v1::GdbClientFrame, v1::GdbServerFrame>& stream, int out_fd)
      : stream_(stream), out_fd_(out_fd) {}

  // Each answers whether to go on.
  bool FromGdb(std::string_view bytes) {
    absl::MutexLock lock(&mutex_);
    return Pass(accelerator_.FromGdb(bytes));
  }
  bool FromServer(const v1::GdbServerFrame& frame) {
    absl::MutexLock lock(&mutex_);
    return Pass(accelerator_.FromServer(frame));
  }

 private:
  bool Pass(const Accelerator::Output& output) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!output.to_server.empty()) {
      v1::GdbClientFrame frame;
      frame.set_rsp(output.to_server);
      if (!stream_.Write(frame)) return false;
    }
    return output.to_gdb.empty() || WriteAll(out_fd_, output.to_gdb).ok();
  }

  grpc::ClientReaderWriter<v1::GdbClientFrame, v1::GdbServerFrame>& stream_;
  const int out_fd_;
  absl::Mutex mutex_;
  Accelerator accelerator_ ABSL_GUARDED_BY(mutex_);
};

// Whether gdb says something before `stop`.
bool AwaitGdb(int in_fd, const StopSignal& stop) {
  pollfd waiting[] = {{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                      {.fd = in_fd, .events = POLLIN, .revents = 0}};
  while (::poll(waiting, 2, -1) < 0) {
  }
  int said = 0;
  return waiting[0].revents == 0 && ::ioctl(in_fd, FIONREAD, &said) == 0 && said > 0;
}

}  // namespace

absl::Status RelayGdb(Server& server, const std::string& session, bool take_over, int in_fd,
                      int out_fd, const StopSignal& stop) {
  // The stream halts the guest: one that only connects, as a scanner does, must not.
  if (!AwaitGdb(in_fd, stop)) return absl::OkStatus();
  grpc::ClientContext call;
  auto stream = server.stub<v1::SessionService>().AttachGdb(&call);
  v1::GdbClientFrame start;
  start.mutable_start()->set_name(session);
  start.mutable_start()->set_frame_version(kFrameVersion);
  start.mutable_start()->set_take_over(take_over);
  stream->Write(start);
  Junction junction(*stream, out_fd);
  StopSignal stream_ended;
  std::thread from_server([&] {
    v1::GdbServerFrame frame;
    while (stream->Read(&frame) && junction.FromServer(frame)) {
    }
    stream_ended.Set();
  });
  // An outer stop has the effect of the stream's own end.
  StopSignal finished;
  std::thread stopper([&] {
    pollfd waiting[] = {{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                        {.fd = finished.fd(), .events = POLLIN, .revents = 0}};
    while (::poll(waiting, 2, -1) < 0) {
    }
    if (waiting[0].revents != 0) call.TryCancel();
  });
  const PumpEnd end = PumpInput(in_fd, stream_ended,
                                [&](std::string_view bytes) { return junction.FromGdb(bytes); });
  // What gdb said last (its `D`) is on the way before the half-close is.
  stream->WritesDone();
  from_server.join();
  finished.Set();
  stopper.join();
  const grpc::Status status = stream->Finish();
  // gdb has what it came for; how the server took the goodbye is nobody's news.
  if (status.ok() || end == PumpEnd::kEndOfInput) return absl::OkStatus();
  return server.Translate(status);
}

}  // namespace kdbg::client
