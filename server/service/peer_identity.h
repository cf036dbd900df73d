// Who is at the other end of a call: the name that the relay in front of gRPC gave the connection.
// gRPC itself cannot say which uid opened a unix socket, so UnixListener reads SO_PEERCRED and
// speaks to gRPC from a socket bound to an abstract name that carries the uid. TlsListener does the
// same for TCP, with a number that stands for the connection. Only they can reach gRPC's own
// socket.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kdbg::service {

// The abstract names, with their leading NUL: "\0kdbg/uid=1000/7", "\0kdbg/tls/7".
std::string RelayName(uid_t uid, std::uint64_t connection);
std::string TlsRelayName(std::uint64_t connection);

// From ServerContext::peer(); nullopt for everything that is no such name.
std::optional<uid_t> UidOfPeer(std::string_view peer);
// The number under which the ConnectionBook has it.
std::optional<std::uint64_t> TlsConnectionOfPeer(std::string_view peer);

}  // namespace kdbg::service
