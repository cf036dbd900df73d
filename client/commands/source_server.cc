#include "client/commands/source_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>

#include "client/commands/source.h"
#include "client/gdb/source_http.h"
#include "client/terminal/input_pump.h"
#include "proto/support/errno_status.h"

namespace kdbg::client {
namespace {

std::string NewToken() {
  unsigned char bytes[16] = {};
  (void)!::getrandom(bytes, sizeof bytes, 0);
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

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
  const std::string token = NewToken();
  KDBG_ASSIGN_OR_RETURN(
      const std::unique_ptr<SourceHttp> http,
      SourceHttp::Start(token, options.build_id,
                        [&](const std::string& path) -> absl::StatusOr<std::string> {
                          // First asked for when gdb shows a line: connecting must not hold up the
                          // attach.
                          KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
                          auto content = ReadSourceFile(*server, options.source, path);
                          if (absl::IsUnavailable(content.status())) {
                            context.Disconnect();
                          }
                          return content;
                        }));
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
