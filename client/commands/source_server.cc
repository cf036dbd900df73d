#include "client/commands/source_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "client/commands/debuginfod.h"
#include "client/commands/source.h"
#include "client/gdb/debuginfod_http.h"
#include "client/terminal/input_pump.h"
#include "proto/support/errno_status.h"

namespace kdbg::client {
namespace {

absl::StatusOr<std::string> ReadLine(int fd) {
  std::string line;
  char c = 0;
  for (;;) {
    const ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::InternalError("the source server did not start");
    if (c == '\n') return line;
    line += c;
  }
}

}  // namespace

CommandEnd ServeSources(Context& context, const SourceServerOptions& options) {
  const std::string token = NewUrlToken();
  DebuginfodAnswers answers;
  answers.source = [&](const std::string& build_id,
                       const std::string& path) -> absl::StatusOr<std::string> {
    if (build_id != options.build_id) return absl::NotFoundError("another program");
    // First asked for when gdb shows a line: connecting must not hold up the attach.
    KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
    auto content = ReadSourceFile(*server, options.source, path);
    if (absl::IsUnavailable(content.status())) context.Disconnect();
    return content;
  };
  answers.symbols = [](const std::string&) -> absl::StatusOr<std::filesystem::path> {
    return absl::NotFoundError("gdb has them");
  };
  KDBG_ASSIGN_OR_RETURN(const std::unique_ptr<DebuginfodHttp> http,
                        DebuginfodHttp::Start(token, 0, std::move(answers)));
  Output::Write(fmt::format("{} {}\n", http->port(), token));
  StopSignal never;
  PumpInput(STDIN_FILENO, never, [](std::string_view) { return true; });
  return kExitDone;
}

absl::StatusOr<SourceServerProcess> SourceServerProcess::Start(const ServerAddress& server,
                                                               const std::string& source,
                                                               const std::string& build_id) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  const UniqueFd answer(ends[0]);
  UniqueFd output(ends[1]);
  KDBG_ASSIGN_OR_RETURN(
      Companion process,
      Companion::Start(server, {"source-server", source, build_id}, output.get()));
  output.Reset();
  KDBG_ASSIGN_OR_RETURN(const std::string line, ReadLine(answer.get()));
  const auto space = line.find(' ');
  if (space == std::string::npos) return absl::InternalError("the source server did not start");
  return SourceServerProcess(
      std::move(process),
      fmt::format("http://127.0.0.1:{}/{}", line.substr(0, space), line.substr(space + 1)));
}

}  // namespace kdbg::client
