#include "server/gdb/tcp_transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <string_view>
#include <utility>

#include "server/gdb/client.h"
#include "server/observe/log.h"

namespace kdbg::gdb {
namespace {

// Far above the longest answer; only a client that has stopped reading lets so much pile up.
constexpr std::size_t kMaximumUnsent = 1 << 20;

void SetOption(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof(value));
}

}  // namespace

TcpTransport::TcpTransport(asio::ip::tcp::socket socket)
    : socket_(std::move(socket)), outbound_(socket_) {
  asio::error_code ignored;
  socket_.non_blocking(true, ignored);
  const int fd = socket_.native_handle();
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // A developer's machine that lost its network must not hold the guest: 5 s of silence, then 3
  // probes, or 15 s with something unacknowledged.
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 3);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 15'000);
}

void TcpTransport::Serve(std::shared_ptr<Client> client) {
  asio::co_spawn(
      socket_.get_executor(),
      [self = shared_from_this(), client = std::move(client)] { return self->ReadLoop(client); },
      asio::detached);
}

asio::awaitable<void> TcpTransport::ReadLoop(std::shared_ptr<Client> client) {
  auto self = shared_from_this();
  asio::error_code error;
  while (true) {
    const std::size_t size = co_await socket_.async_read_some(
        asio::buffer(buffer_), asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    client->Receive(std::string_view(buffer_.data(), size));
  }
  Abort();
  client->Vanish();
}

void TcpTransport::Send(std::string bytes) {
  if (!socket_.is_open()) return;
  if (outbound_.pending() + bytes.size() > kMaximumUnsent) {
    spdlog::warn("gdb: a client does not read what it asked for; cut off");
    return Abort();
  }
  outbound_.Append(bytes);
  outbound_.Flush(shared_from_this());
}

// Only our direction: closing while the client's last acknowledgement is on its way would be a
// reset, and could take the answer before it along.
void TcpTransport::Finish() {
  outbound_.OnDrained([this] {
    asio::error_code ignored;
    socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  });
}

void TcpTransport::Abort() {
  asio::error_code ignored;
  socket_.close(ignored);
}

}  // namespace kdbg::gdb
