#include "client/commands/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>
#include <thread>
#include <utility>

#include "client/commands/lookup.h"
#include "client/terminal/escape_detector.h"
#include "client/terminal/input_pump.h"
#include "client/terminal/raw_terminal.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

using ConsoleStream = grpc::ClientReaderWriter<v1::AttachConsoleRequest, v1::ConsoleChunk>;

CommandEnd ReadOnly(Context& context, const ConsoleOptions& options, const std::string& session) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  v1::ReadConsoleRequest request;
  request.set_name(session);
  request.set_offset_bytes(options.since_bytes);
  request.set_follow(!options.no_follow);
  KDBG_RETURN_IF_ERROR(Follow<v1::ConsoleChunk>(
      *server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server->stub<v1::SessionService>().ReadConsole(call, request);
      },
      [&](const v1::ConsoleChunk& chunk) {
        Output::Write(chunk.data());
        request.set_offset_bytes(chunk.offset_bytes() +
                                 static_cast<std::int64_t>(chunk.data().size()));
        return Next::kGoOn;
      }));
  return kExitDone;
}

// The keyboard, or a pipe, to the guest. Ends when the user leaves, the input ends or the stream
// does.
bool SendInput(ConsoleStream& stream, const StopSignal& stream_ended, bool interactive) {
  EscapeDetector escapes;
  bool leave = false;
  PumpInput(STDIN_FILENO, stream_ended, [&](std::string_view typed) {
    v1::AttachConsoleRequest message;
    if (interactive) {
      EscapeDetector::Result result = escapes.Feed(typed);
      leave = result.leave;
      message.set_input(std::move(result.forward));
    } else {
      message.set_input(std::string(typed));
    }
    if (!message.input().empty() && !stream.Write(message)) return false;
    return !leave;
  });
  return leave;
}

CommandEnd Attach(Context& context, const ConsoleOptions& options, const std::string& session) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  const bool interactive = ::isatty(STDIN_FILENO) != 0;
  std::optional<RawTerminal> raw;
  if (interactive) {
    context.output().Note("console: ~. at the start of a line leaves");
    KDBG_ASSIGN_OR_RETURN(RawTerminal entered, RawTerminal::Enter(STDIN_FILENO));
    raw.emplace(std::move(entered));
  }
  grpc::ClientContext call;
  StopSignal stream_ended;
  Interrupt::Scope scope(context.interrupt(), [&] {
    call.TryCancel();
    stream_ended.Set();
  });
  auto stream = server->stub<v1::SessionService>().AttachConsole(&call);
  v1::AttachConsoleRequest start;
  start.mutable_start()->set_name(session);
  start.mutable_start()->set_offset_bytes(options.since_bytes);
  start.mutable_start()->set_take_over(options.take_over);
  stream->Write(start);
  std::thread reader([&] {
    v1::ConsoleChunk chunk;
    while (stream->Read(&chunk)) {
      Output::Write(chunk.data());
      if (!chunk.notice().empty()) {
        (void)WriteAll(STDERR_FILENO, fmt::format("\r\nkdbgctl: {}\r\n", chunk.notice()));
      }
    }
    stream_ended.Set();
  });
  const bool left = SendInput(*stream, stream_ended, interactive);
  // Input that ended (a pipe) still wants the answer; a user who leaves does not.
  if (left) {
    call.TryCancel();
  } else {
    stream->WritesDone();
  }
  reader.join();
  const grpc::Status status = stream->Finish();
  raw.reset();
  if (interactive) Output::Write("\r\n");
  if (left) return kExitDone;
  if (scope.fired()) return InterruptedError();
  if (!status.ok()) return server->Translate(status);
  if (interactive) context.output().Note(fmt::format("{} has ended", session));
  return kExitDone;
}

}  // namespace

CommandEnd Console(Context& context, const ConsoleOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const std::string session, SessionName(options.session));
  if (options.read_only || options.no_follow) return ReadOnly(context, options, session);
  return Attach(context, options, session);
}

}  // namespace kdbg::client
