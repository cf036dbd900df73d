// A client on a TCP connection. For the I/O thread.
#pragma once

#include <array>
#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "server/gdb/outbound.h"
#include "server/gdb/transport.h"

namespace kdbg::gdb {

class Client;

class TcpTransport final : public Transport, public std::enable_shared_from_this<TcpTransport> {
 public:
  explicit TcpTransport(asio::ip::tcp::socket socket);

  // Reads for `client` until either end closes; then the client vanishes.
  void Serve(std::shared_ptr<Client> client);

  void Send(std::string bytes) override;
  void Finish() override;
  void Abort() override;

 private:
  asio::awaitable<void> ReadLoop(std::shared_ptr<Client> client);

  asio::ip::tcp::socket socket_;
  Outbound<asio::ip::tcp::socket> outbound_;
  std::array<char, 8192> buffer_;
};

}  // namespace kdbg::gdb
