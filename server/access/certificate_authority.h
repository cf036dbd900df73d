// kdbgd's own certificate authority: one key, which vouches for the server to its users and for the
// users to the server, and for nobody else. It lies in `directory`, readable by the daemon alone:
// ca.key and ca.pem.
//
// Immutable once open; any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/support/x509.h"

namespace kdbg::access {

// Whom server certificates are for. Addresses change and are tunnelled to; the authority vouches
// for one server alone, so that clients who know it need no other name.
inline constexpr char kServerName[] = "kdbgd";

struct IssuedCertificate {
  std::string user;
  std::string pem;
  std::string serial;  // lower-case hex
  absl::Time expire_time;
};

struct ServerCertificate {
  std::string key_pem;
  std::string chain_pem;  // ends with the authority's own
};

class CertificateAuthority {
 public:
  // Makes one when there is none. FAILED_PRECONDITION when half of it is missing or the two do not
  // belong together.
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> Open(
      const std::filesystem::path& directory, absl::Time now);

  const std::string& pem() const { return pem_; }
  std::string fingerprint() const { return Sha256Of(certificate_.get()); }

  // For a user's key, which `request` shows that they have. INVALID_ARGUMENT for a bad request.
  absl::StatusOr<IssuedCertificate> IssueToUser(const std::string& user, std::string_view request,
                                                absl::Time now, absl::Duration lifetime) const;
  // With a new key. Held in memory only: a server that starts makes another.
  absl::StatusOr<ServerCertificate> IssueToServer(absl::Time now, absl::Duration lifetime) const;

 private:
  CertificateAuthority(PrivateKey key, Certificate certificate)
      : key_(std::move(key)),
        certificate_(std::move(certificate)),
        pem_(ToPem(certificate_.get())) {}

  const PrivateKey key_;
  const Certificate certificate_;
  const std::string pem_;
};

}  // namespace kdbg::access
