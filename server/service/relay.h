// What listeners have in common: a loop that accepts, and bytes both ways between a caller and
// gRPC's private socket, one bounded buffer each way. For unix_listener.cc and tls_listener.cc.
#pragma once

#include <asio.hpp>
#include <asio/experimental/as_tuple.hpp>
#include <asio/ssl.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "server/observe/log.h"

namespace kdbg::service {

using LocalSocket = asio::local::stream_protocol::socket;
using TlsStream = asio::ssl::stream<asio::ip::tcp::socket>;
inline constexpr auto kNoThrow = asio::experimental::as_tuple(asio::use_awaitable);
inline constexpr std::size_t kRelayBufferBytes = 64 * 1024;

// Unguessable, so that nobody on the host can take the names of connections to come.
inline std::uint64_t FirstConnectionNumber() {
  std::random_device random;
  return (static_cast<std::uint64_t>(random()) << 32) | random();
}

// Until the acceptor is closed.
template <typename Acceptor, typename Admit>
asio::awaitable<void> AcceptAll(asio::io_context& context, Acceptor& acceptor, Admit admit) {
  asio::steady_timer pause(context);
  while (acceptor.is_open()) {
    auto [error, caller] = co_await acceptor.async_accept(kNoThrow);
    if (!error) {
      admit(std::move(caller));
      continue;
    }
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) break;
    // Out of descriptors: the connection stays in the backlog, which would wake us at once again.
    spdlog::warn("cannot accept a connection: {}", error.message());
    pause.expires_after(std::chrono::milliseconds(100));
    co_await pause.async_wait(kNoThrow);
  }
}

// From a socket bound to the abstract name `own_name`.
inline asio::awaitable<std::error_code> ConnectPrivately(LocalSocket& server, std::string own_name,
                                                         std::string path) {
  std::error_code error;
  server.open(asio::local::stream_protocol(), error);
  if (!error) server.bind(own_name, error);
  if (!error) std::tie(error) = co_await server.async_connect(path, kNoThrow);
  if (error) spdlog::error("cannot reach gRPC's own socket: {}", error.message());
  co_return error;
}

inline void EndWriting(LocalSocket& socket) {
  std::error_code ignored;
  socket.shutdown(LocalSocket::shutdown_send, ignored);
}
// Without TLS's own farewell: gRPC has said goodbye in its own protocol already.
inline void EndWriting(TlsStream& stream) {
  std::error_code ignored;
  stream.lowest_layer().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}
template <typename Stream>
void CloseStream(Stream& stream) {
  std::error_code ignored;
  stream.lowest_layer().close(ignored);
}

template <typename Caller>
class Relay {
 public:
  // Until both directions have ended.
  static asio::awaitable<void> Run(asio::io_context& context, std::shared_ptr<Caller> caller,
                                   LocalSocket server) {
    const auto both = std::make_shared<Relay>(std::move(caller), std::move(server));
    auto done =
        std::make_shared<asio::steady_timer>(context, asio::steady_timer::time_point::max());
    asio::co_spawn(context, both->Pump(both, both->server_, *both->caller_),
                   [done](const std::exception_ptr&) {
                     // Also ends a wait that has not begun yet, unlike cancel.
                     done->expires_at(asio::steady_timer::time_point::min());
                   });
    co_await both->Pump(both, *both->caller_, both->server_);
    // Wait for the other direction: a half-closed connection still carries answers.
    if (!both->server_.is_open() && !both->caller_->lowest_layer().is_open()) co_return;
    co_await done->async_wait(kNoThrow);
  }

  Relay(std::shared_ptr<Caller> caller, LocalSocket server)
      : caller_(std::move(caller)), server_(std::move(server)) {}

 private:
  // Until `from` ends; an error ends both directions.
  template <typename From, typename To>
  asio::awaitable<void> Pump(std::shared_ptr<Relay> self, From& from, To& to) {
    std::vector<char> buffer(kRelayBufferBytes);
    while (true) {
      const auto [read_error, count] =
          co_await from.async_read_some(asio::buffer(buffer), kNoThrow);
      if (read_error == asio::error::eof) {
        EndWriting(to);
        co_return;
      }
      std::error_code error = read_error;
      if (!error) {
        const auto [write_error, written] =
            co_await asio::async_write(to, asio::buffer(buffer.data(), count), kNoThrow);
        error = write_error;
      }
      if (!error) continue;
      CloseStream(*self->caller_);
      CloseStream(self->server_);
      co_return;
    }
  }

  const std::shared_ptr<Caller> caller_;
  LocalSocket server_;
};

}  // namespace kdbg::service
