// The TCP sockets: TLS ends here, and gRPC's private sockets see plain bytes from connections whose
// callers the ConnectionBook tells of, as UnixListener does it for this host.
//
// A connection with a certificate that the authority of TlsKeys has signed goes to the server of
// known callers; one without any goes to a small one of its own, where there is only enrolment, and
// is cut after `stranger_lifetime`. A certificate that is good no more (it was revoked) is told so
// at its first call, but takes a stranger's place and time. Everything else ends in the handshake.
// One thread runs all of it; it ends with the object.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/access/tls_keys.h"
#include "server/config/config.h"
#include "server/service/connection_book.h"

namespace kdbg::service {

struct TlsLimits {
  absl::Duration handshake_timeout = absl::Seconds(10);
  absl::Duration stranger_lifetime = absl::Seconds(30);
  // In the handshake, or without a certificate that is good.
  int max_strangers = 64;
  int max_strangers_per_address = 8;  // of an IPv6 address: of its /64
  int max_connections = 1024;
  int max_connections_per_user = 64;
};

struct PrivateSockets {
  std::filesystem::path known;
  std::filesystem::path strangers;
};

class TlsListener {
 public:
  // UNAVAILABLE names the address that cannot be listened on. `keys`, `users` and `book` outlive
  // it.
  static absl::StatusOr<std::unique_ptr<TlsListener>> Start(
      const std::vector<config::TcpAddress>& addresses, const access::TlsKeys& keys,
      const access::EnrolledUsers& users, ConnectionBook& book, const PrivateSockets& sockets,
      const TlsLimits& limits);
  // Cuts what is still connected.
  ~TlsListener();

  // In the order of the addresses.
  std::vector<int> ports() const;
  // No more connections; those there are go on.
  void StopAccepting();

 private:
  class Impl;
  explicit TlsListener(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kdbg::service
