// What the TLS listener shows and whom it believes: files of the configuration, or kdbgd's own
// authority for each that is not named there.
//
// Thread-safe. Reload reads the files; Current never blocks.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/access/certificate_authority.h"
#include "server/base/clock.h"
#include "server/config/config.h"

namespace kdbg::access {

struct TlsMaterial {
  std::string key_pem;
  std::string chain_pem;             // of the server; its last certificate is what clients trust
  std::string client_authority_pem;  // who vouches for clients
  std::string client_crl_pem;        // empty: no list
  std::string anchor_pem;            // that last certificate
  std::string fingerprint;           // its SHA-256, raw
  std::string server_name;           // as in CertificateResponse
  absl::Time expire_time;            // of the server's certificate

  bool operator==(const TlsMaterial&) const = default;
};

class TlsKeys {
 public:
  // `authority` is ours, and outlives this. INVALID_ARGUMENT (kConfigInvalid) names the file that
  // is no good.
  static absl::StatusOr<std::unique_ptr<TlsKeys>> Open(const config::Tls& settings,
                                                       const CertificateAuthority& authority,
                                                       const Clock& clock);

  std::shared_ptr<const TlsMaterial> Current() const {
    absl::MutexLock lock(&mutex_);
    return current_;
  }
  // Takes files that changed, and makes a new certificate in time where it is our own. After an
  // error all is as it was.
  absl::Status Reload();

 private:
  TlsKeys(const config::Tls& settings, const CertificateAuthority& authority, const Clock& clock)
      : settings_(settings), authority_(authority), clock_(clock) {}
  absl::StatusOr<TlsMaterial> Read(const TlsMaterial* before) const;

  const config::Tls settings_;
  const CertificateAuthority& authority_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const TlsMaterial> current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::access
