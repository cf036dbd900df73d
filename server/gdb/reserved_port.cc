#include "server/gdb/reserved_port.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <cerrno>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::gdb {

absl::StatusOr<ReservedPort> ReservedPort::Bind(const std::string& host, int port) {
  asio::error_code error;
  const auto address = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) {
    return InvalidField("gdb_host", host, "the address for gdb ports must be numeric");
  }
  if (port < 0 || port > 65535) {
    return InvalidField("port", std::to_string(port), "a port is between 1 and 65535");
  }
  const asio::ip::tcp::endpoint endpoint(address, static_cast<unsigned short>(port));
  UniqueFd fd(::socket(endpoint.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "make a socket");
  // Connections of the last session on this port may linger in TIME_WAIT; a listener still excludes
  // others.
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0 ||
      ::listen(fd.get(), 16) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(fmt::format("port {} is in use by another program", port));
    }
    return ErrnoError(errno, fmt::format("listen on {}:{}", host, port));
  }
  return Adopt(std::move(fd));
}

absl::StatusOr<ReservedPort> ReservedPort::Duplicate() const {
  UniqueFd copy(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return ErrnoError(errno, "duplicate a listening socket");
  return ReservedPort(std::move(copy), port_);
}

absl::StatusOr<ReservedPort> ReservedPort::Adopt(UniqueFd listening) {
  asio::ip::tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(listening.get(), endpoint.data(), &size) != 0) {
    return ErrnoError(errno, "read a listening socket's address");
  }
  endpoint.resize(size);
  return ReservedPort(std::move(listening), endpoint.port());
}

}  // namespace kdbg::gdb
