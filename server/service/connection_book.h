// The TLS connections there are: what the relay found out about each, for the gate to look up by
// the number that ServerContext::peer() shows (peer_identity.h).
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/access/enrolled_users.h"

namespace kdbg::service {

struct TlsConnection {
  std::string address;  // without the port: whom attempts are counted against
  std::string from;     // with it, for the log
  std::optional<access::CertificateClaim> claim;  // absent: came without a certificate
};

class ConnectionBook {
 public:
  void Enter(std::uint64_t number, TlsConnection connection) {
    absl::MutexLock lock(&mutex_);
    connections_[number] = std::move(connection);
  }
  void Leave(std::uint64_t number) {
    absl::MutexLock lock(&mutex_);
    connections_.erase(number);
  }
  std::optional<TlsConnection> Find(std::uint64_t number) const {
    absl::MutexLock lock(&mutex_);
    const auto found = connections_.find(number);
    if (found == connections_.end()) return std::nullopt;
    return found->second;
  }

 private:
  mutable absl::Mutex mutex_;
  std::map<std::uint64_t, TlsConnection> connections_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::service
