// Whose process is at the other end of a TCP connection within this host: on the loopback, where
// every local user can connect, that is who asks.
#pragma once

#include <sys/types.h>

#include <asio/ip/tcp.hpp>
#include <optional>

namespace kdbg::gdb {

// Of the socket that is bound to `peer` and connected to `own`. nullopt when there is no such
// socket on this host: the connection comes from elsewhere, or its other end has closed it. A
// question to the kernel, some 20 us.
std::optional<uid_t> PeerUid(const asio::ip::tcp::endpoint& own,
                             const asio::ip::tcp::endpoint& peer);

}  // namespace kdbg::gdb
