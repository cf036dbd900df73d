#include "client/gdb/gdb_relay.h"

#include <poll.h>

#include <thread>

#include "proto/support/file.h"

namespace kdbg::client {
namespace {

// The newest frames we understand: RSP bytes only.
constexpr int kFrameVersion = 1;

}  // namespace

absl::Status RelayGdb(Server& server, const std::string& session, int in_fd, int out_fd,
                      const StopSignal& stop) {
  grpc::ClientContext call;
  auto stream = server.stub<v1::SessionService>().AttachGdb(&call);
  v1::GdbClientFrame start;
  start.mutable_start()->set_name(session);
  start.mutable_start()->set_frame_version(kFrameVersion);
  stream->Write(start);
  StopSignal stream_ended;
  std::thread from_server([&] {
    v1::GdbServerFrame frame;
    while (stream->Read(&frame)) {
      if (!frame.rsp().empty() && !WriteAll(out_fd, frame.rsp()).ok()) break;
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
  const PumpEnd end = PumpInput(in_fd, stream_ended, [&](std::string_view bytes) {
    v1::GdbClientFrame frame;
    frame.set_rsp(std::string(bytes));
    return stream->Write(frame);
  });
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
