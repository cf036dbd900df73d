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

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  return Pipe{.read_end = UniqueFd(fds[0]), .write_end = UniqueFd(fds[1])};
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
                                                               const v1::Artifact& kernel) {
  KDBG_ASSIGN_OR_RETURN(Pipe lifeline, MakePipe());
  KDBG_ASSIGN_OR_RETURN(Pipe answer, MakePipe());
  Subprocess::Options options;
  options.argv = {"/proc/self/exe", "--server",      ToString(server),
                  "source-server",  kernel.source(), kernel.build_id()};
  options.descriptors = {{0, lifeline.read_end.get()}, {1, answer.write_end.get()}};
  KDBG_ASSIGN_OR_RETURN(Subprocess process, Subprocess::Start(options));
  answer.write_end.Reset();
  KDBG_ASSIGN_OR_RETURN(const std::string line, ReadLine(answer.read_end.get()));
  const auto space = line.find(' ');
  if (space == std::string::npos) return absl::InternalError("the source server did not start");
  // gdb inherits this end: when the last holder is gone, so is the server.
  ::fcntl(lifeline.write_end.get(), F_SETFD, 0);
  return SourceServerProcess(
      std::move(process), std::move(lifeline.write_end),
      fmt::format("http://127.0.0.1:{}/{}", line.substr(0, space), line.substr(space + 1)));
}

}  // namespace kdbg::client
