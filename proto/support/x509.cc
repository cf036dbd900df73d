#include "proto/support/x509.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>

#include <ctime>
#include <utility>

namespace kdbg {
namespace {

using Bio = std::unique_ptr<BIO, OpenSslFree<&BIO_free_all>>;
constexpr std::size_t kMaxChain = 16;

int NoPassphrase(char*, int, int, void*) { return -1; }

absl::StatusOr<Bio> Open(std::string_view pem) {
  if (pem.size() > kPemLimit) {
    return absl::InvalidArgumentError(
        fmt::format("{} bytes of PEM are more than the {} allowed", pem.size(), kPemLimit));
  }
  Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return absl::InternalError(OpenSslError());
  return bio;
}

std::string ContentOf(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : "";
}

// EC P-256 and P-384, Ed25519, RSA of 2048 to 4096 bits: strong enough, and checked in no time.
bool IsGoodKey(EVP_PKEY* key) {
  if (key == nullptr) return false;
  const int bits = EVP_PKEY_get_bits(key);
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC: {
      char group[64] = {};
      if (EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) != 1) return false;
      const int curve = OBJ_txt2nid(group);
      return curve == NID_X9_62_prime256v1 || curve == NID_secp384r1;
    }
    case EVP_PKEY_ED25519:
      return true;
    case EVP_PKEY_RSA: {
      BIGNUM* exponent = nullptr;
      if (EVP_PKEY_get_bn_param(key, "e", &exponent) != 1) return false;
      const bool small = BN_num_bits(exponent) <= 32;
      BN_free(exponent);
      return small && bits >= 2048 && bits <= 4096;
    }
    default:
      return false;
  }
}

}  // namespace

std::string OpenSslError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "OpenSSL gives no reason";
  char text[256] = {};
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

absl::StatusOr<PrivateKey> NewPrivateKey() {
  PrivateKey key(EVP_EC_gen("P-256"));
  if (!key) return absl::InternalError(OpenSslError());
  return key;
}

absl::StatusOr<std::string> ToPem(const PrivateKey& key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
      1) {
    return absl::InternalError(OpenSslError());
  }
  return ContentOf(bio);
}

absl::StatusOr<PrivateKey> PrivateKeyFromPem(std::string_view pem) {
  absl::StatusOr<Bio> bio = Open(pem);
  if (!bio.ok()) return bio.status();
  PrivateKey key(PEM_read_bio_PrivateKey(bio->get(), nullptr, &NoPassphrase, nullptr));
  if (!key) {
    return absl::InvalidArgumentError(
        fmt::format("no private key in PEM form without a passphrase: {}", OpenSslError()));
  }
  return key;
}

std::string ToPem(const X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return ContentOf(bio);
}

absl::StatusOr<std::vector<Certificate>> CertificatesFromPem(std::string_view pem) {
  absl::StatusOr<Bio> bio = Open(pem);
  if (!bio.ok()) return bio.status();
  std::vector<Certificate> chain;
  while (chain.size() <= kMaxChain) {
    Certificate next(PEM_read_bio_X509(bio->get(), nullptr, &NoPassphrase, nullptr));
    if (!next) break;
    chain.push_back(std::move(next));
  }
  const std::string error = OpenSslError();
  if (chain.empty()) {
    return absl::InvalidArgumentError(fmt::format("no certificate in PEM form: {}", error));
  }
  if (chain.size() > kMaxChain) {
    return absl::InvalidArgumentError(fmt::format("more than {} certificates", kMaxChain));
  }
  return chain;
}

absl::StatusOr<RevocationList> RevocationListFromPem(std::string_view pem) {
  absl::StatusOr<Bio> bio = Open(pem);
  if (!bio.ok()) return bio.status();
  RevocationList list(PEM_read_bio_X509_CRL(bio->get(), nullptr, &NoPassphrase, nullptr));
  if (list) return list;
  return absl::InvalidArgumentError(
      fmt::format("no certificate revocation list in PEM form: {}", OpenSslError()));
}

absl::StatusOr<std::string> NewCertificateRequest(const PrivateKey& key) {
  const CertificateRequest request(X509_REQ_new());
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!request || X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0 ||
      PEM_write_bio_X509_REQ(bio.get(), request.get()) != 1) {
    return absl::InternalError(OpenSslError());
  }
  return ContentOf(bio);
}

absl::StatusOr<CertificateRequest> CertificateRequestFromPem(std::string_view pem) {
  absl::StatusOr<Bio> bio = Open(pem);
  if (!bio.ok()) return bio.status();
  CertificateRequest request(PEM_read_bio_X509_REQ(bio->get(), nullptr, &NoPassphrase, nullptr));
  if (!request) {
    return absl::InvalidArgumentError(
        fmt::format("no certificate request in PEM form: {}", OpenSslError()));
  }
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  if (!IsGoodKey(key)) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        "the request's key must be EC P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits");
  }
  if (X509_REQ_verify(request.get(), key) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("the request is not signed with its own key");
  }
  return request;
}

std::string Sha256Of(const X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1) return "";
  return std::string(reinterpret_cast<const char*>(digest), size);
}

std::string CommonNameOf(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) return "";
  const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, value);
  if (size < 0) return "";
  std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return name;
}

std::string SerialNumberOf(const X509* certificate) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  std::string hex = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER ? "-" : "";
  const unsigned char* bytes = ASN1_STRING_get0_data(serial);
  for (int i = 0; i < ASN1_STRING_length(serial); ++i) hex += fmt::format("{:02x}", bytes[i]);
  return hex;
}

absl::Time ExpireTimeOf(const X509* certificate) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

}  // namespace kdbg
