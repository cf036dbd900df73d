#include "client/commands/gdb_relay_commands.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "client/commands/lookup.h"
#include "client/gdb/gdb_relay.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

struct Listener {
  UniqueFd fd;
  std::string address;
};

absl::StatusOr<Listener> Listen(const std::string& listen) {
  const auto colon = listen.rfind(':');
  const std::string host =
      colon == std::string::npos || colon == 0 ? "127.0.0.1" : listen.substr(0, colon);
  const std::string port = colon == std::string::npos ? listen : listen.substr(colon + 1);
  addrinfo wanted = {};
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &wanted, &found); error != 0) {
    return absl::InvalidArgumentError(
        fmt::format("--listen {}: {}; write :PORT or HOST:PORT", listen, ::gai_strerror(error)));
  }
  Listener listener{.fd = UniqueFd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                    .address = {}};
  const int on = 1;
  ::setsockopt(listener.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool bound = ::bind(listener.fd.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                     ::listen(listener.fd.get(), 1) == 0;
  const int error = errno;
  ::freeaddrinfo(found);
  if (!bound) return ErrnoError(error, "listen on " + listen);
  sockaddr_storage actual = {};
  socklen_t size = sizeof actual;
  ::getsockname(listener.fd.get(), reinterpret_cast<sockaddr*>(&actual), &size);
  char service[32];
  char numeric[128];
  ::getnameinfo(reinterpret_cast<sockaddr*>(&actual), size, numeric, sizeof numeric, service,
                sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
  listener.address = fmt::format("{}:{}", numeric, service);
  return listener;
}

}  // namespace

CommandEnd GdbPipe(Context& context, const std::string& text, bool take_over) {
  KDBG_ASSIGN_OR_RETURN(const std::string session, SessionName(text));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  StopSignal stop;
  // gdb keeps Ctrl-C from us (it is a packet then) and ends us by closing the pipe, else by
  // SIGTERM.
  Interrupt::Scope scope(context.interrupt(), [&] { stop.Set(); });
  KDBG_RETURN_IF_ERROR(RelayGdb(*server, session, take_over, STDIN_FILENO, STDOUT_FILENO, stop));
  return kExitDone;
}

CommandEnd GdbForward(Context& context, const std::string& text, const std::string& listen) {
  KDBG_ASSIGN_OR_RETURN(const v1::Session session, FindSession(context, text));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  KDBG_ASSIGN_OR_RETURN(const Listener listener, Listen(listen));
  StopSignal stop;
  Interrupt::Scope scope(context.interrupt(), [&] { stop.Set(); });
  Output::Write(fmt::format("{}\n", listener.address));
  context.output().Note(fmt::format("forwarding to {}: in gdb, target remote {}; Ctrl-C ends it",
                                    session.name(), listener.address));
  for (;;) {
    pollfd waiting[] = {{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                        {.fd = listener.fd.get(), .events = POLLIN, .revents = 0}};
    if (::poll(waiting, 2, -1) < 0) continue;
    if (waiting[0].revents != 0) return InterruptedError();
    UniqueFd gdb(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!gdb) continue;
    // Packets are small and every one waits for its answer.
    const int on = 1;
    ::setsockopt(gdb.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const absl::Status status =
        RelayGdb(*server, session.name(), false, gdb.get(), gdb.get(), stop);
    if (scope.fired()) return InterruptedError();
    if (!status.ok()) (void)WriteAll(STDERR_FILENO, ErrorReport(status));
    if (absl::IsNotFound(status)) return status;
  }
}

}  // namespace kdbg::client
