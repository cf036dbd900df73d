// Keys and certificates by OpenSSL, as both ends of TLS need them. Pure; any thread.
//
// PEM from outside is parsed here only: never more than kPemLimit of it, and never with a question
// for a passphrase on the terminal.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kdbg {

template <auto Free>
struct OpenSslFree {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using PrivateKey = std::unique_ptr<EVP_PKEY, OpenSslFree<&EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, OpenSslFree<&X509_free>>;
using RevocationList = std::unique_ptr<X509_CRL, OpenSslFree<&X509_CRL_free>>;
using CertificateRequest = std::unique_ptr<X509_REQ, OpenSslFree<&X509_REQ_free>>;

inline constexpr std::size_t kPemLimit = std::size_t{256} << 10;

// On the curve P-256.
absl::StatusOr<PrivateKey> NewPrivateKey();
absl::StatusOr<std::string> ToPem(const PrivateKey& key);  // PKCS #8, not encrypted
absl::StatusOr<PrivateKey> PrivateKeyFromPem(std::string_view pem);

std::string ToPem(const X509* certificate);
// All of them in order, at least one. INVALID_ARGUMENT.
absl::StatusOr<std::vector<Certificate>> CertificatesFromPem(std::string_view pem);

absl::StatusOr<RevocationList> RevocationListFromPem(std::string_view pem);

// PKCS #10, signed with the key and with an empty subject: the server alone says who one is.
absl::StatusOr<std::string> NewCertificateRequest(const PrivateKey& key);
// The signature shows that the sender has the key. INVALID_ARGUMENT also for keys that are weak or
// needlessly slow to check.
absl::StatusOr<CertificateRequest> CertificateRequestFromPem(std::string_view pem);

std::string Sha256Of(const X509* certificate);        // 32 bytes, of the DER form
std::string CommonNameOf(const X509* certificate);    // empty when it has none or several
std::string SerialNumberOf(const X509* certificate);  // lower-case hex
absl::Time ExpireTimeOf(const X509* certificate);

// What OpenSSL says of its last failure on this thread, which is forgotten then.
std::string OpenSslError();

}  // namespace kdbg
