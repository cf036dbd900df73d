#include "server/access/certificate_authority.h"

#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <system_error>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::access {
namespace {

constexpr absl::Duration kAuthorityLifetime = absl::Hours(24 * 365 * 10);
// Clocks of other machines may be behind.
constexpr absl::Duration kBackdate = absl::Hours(1);

struct Template {
  std::string common_name;
  EVP_PKEY* key = nullptr;
  absl::Time not_after;
  std::vector<std::pair<int, std::string>> extensions;
};

bool SetTime(ASN1_TIME* into, absl::Time time) {
  return ASN1_TIME_set(into, absl::ToTimeT(time)) != nullptr;
}

// 126 random bits.
bool SetSerial(X509* certificate) {
  const std::unique_ptr<BIGNUM, OpenSslFree<&BN_free>> number(BN_new());
  return number && BN_rand(number.get(), 126, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context = {};
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, OpenSslFree<&X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// `issuer` nullptr: by itself.
absl::StatusOr<Certificate> Sign(const Template& wanted, const X509* issuer,
                                 const PrivateKey& issuer_key, absl::Time now) {
  Certificate certificate(X509_new());
  X509* made = certificate.get();
  X509_NAME* subject = made != nullptr ? X509_get_subject_name(made) : nullptr;
  const auto* name = reinterpret_cast<const unsigned char*>(wanted.common_name.data());
  bool good = made != nullptr && X509_set_version(made, X509_VERSION_3) == 1 && SetSerial(made) &&
              SetTime(X509_getm_notBefore(made), now - kBackdate) &&
              SetTime(X509_getm_notAfter(made), wanted.not_after) &&
              X509_set_pubkey(made, wanted.key) == 1 &&
              X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, name,
                                         static_cast<int>(wanted.common_name.size()), -1, 0) == 1;
  X509* from = issuer != nullptr ? const_cast<X509*>(issuer) : made;
  good = good && X509_set_issuer_name(made, X509_get_subject_name(from)) == 1;
  for (const auto& [kind, value] : wanted.extensions) {
    good = good && AddExtension(made, from, kind, value);
  }
  if (!good || X509_sign(made, issuer_key.get(), EVP_sha256()) == 0) {
    return absl::InternalError(
        fmt::format("cannot make a certificate for {}: {}", wanted.common_name, OpenSslError()));
  }
  return certificate;
}

// A key that is there is never written over: all who were let in are known by it. A start that was
// cut off before the certificate leaves one, and so does a backup without ca.pem.
absl::StatusOr<PrivateKey> KeyIn(const std::filesystem::path& key_file) {
  std::error_code error;
  if (std::filesystem::exists(key_file, error)) {
    KDBG_ASSIGN_OR_RETURN(const std::string pem, ReadFile(key_file, kPemLimit));
    return PrivateKeyFromPem(pem);
  }
  if (error) return ErrnoError(error.value(), "look at " + key_file.string());
  KDBG_ASSIGN_OR_RETURN(PrivateKey key, NewPrivateKey());
  KDBG_ASSIGN_OR_RETURN(const std::string pem, ToPem(key));
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(key_file, pem, 0600));
  return key;
}

absl::Status Make(const std::filesystem::path& key_file,
                  const std::filesystem::path& certificate_file, absl::Time now) {
  KDBG_ASSIGN_OR_RETURN(const PrivateKey key, KeyIn(key_file));
  const Template wanted{
      .common_name = "kdbgd's own authority",
      .key = key.get(),
      .not_after = now + kAuthorityLifetime,
      .extensions = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                     {NID_key_usage, "critical,keyCertSign,cRLSign"},
                     {NID_subject_key_identifier, "hash"}},
  };
  KDBG_ASSIGN_OR_RETURN(const Certificate certificate, Sign(wanted, nullptr, key, now));
  return WriteFileAtomic(certificate_file, ToPem(certificate.get()), 0600);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::Open(
    const std::filesystem::path& directory, absl::Time now) {
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  const std::filesystem::path key_file = directory / "ca.key";
  const std::filesystem::path certificate_file = directory / "ca.pem";
  std::error_code error;
  if (!std::filesystem::exists(certificate_file, error)) {
    if (error) return ErrnoError(error.value(), "look at " + certificate_file.string());
    KDBG_RETURN_IF_ERROR(Make(key_file, certificate_file, now));
  }
  const auto unusable = [&](std::string_view why) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kConfigInvalid,
                     fmt::format("{}: {}; restore both files from a backup, or move them away and "
                                 "enrol every user anew",
                                 directory.string(), why));
  };
  const auto key_pem = ReadFile(key_file, kPemLimit);
  if (!key_pem.ok()) return unusable(std::string(key_pem.status().message()));
  const auto certificate_pem = ReadFile(certificate_file, kPemLimit);
  if (!certificate_pem.ok()) return unusable(std::string(certificate_pem.status().message()));
  auto key = PrivateKeyFromPem(*key_pem);
  auto chain = CertificatesFromPem(*certificate_pem);
  if (!key.ok() || !chain.ok() || X509_check_private_key(chain->front().get(), key->get()) != 1) {
    (void)OpenSslError();
    return unusable("ca.key and ca.pem do not belong together");
  }
  return std::unique_ptr<CertificateAuthority>(
      new CertificateAuthority(*std::move(key), std::move(chain->front())));
}

absl::StatusOr<IssuedCertificate> CertificateAuthority::IssueToUser(const std::string& user,
                                                                    std::string_view request,
                                                                    absl::Time now,
                                                                    absl::Duration lifetime) const {
  const auto parsed = CertificateRequestFromPem(request);
  if (!parsed.ok()) {
    return InvalidField("certificate_request", "", std::string(parsed.status().message()));
  }
  const Template wanted{
      .common_name = user,
      .key = X509_REQ_get0_pubkey(parsed->get()),
      .not_after = std::min(now + lifetime, ExpireTimeOf(certificate_.get())),
      .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                     {NID_key_usage, "critical,digitalSignature"},
                     {NID_ext_key_usage, "clientAuth"},
                     {NID_authority_key_identifier, "keyid"}},
  };
  KDBG_ASSIGN_OR_RETURN(const Certificate made, Sign(wanted, certificate_.get(), key_, now));
  return IssuedCertificate{.user = user,
                           .pem = ToPem(made.get()),
                           .serial = SerialNumberOf(made.get()),
                           .expire_time = ExpireTimeOf(made.get())};
}

absl::StatusOr<ServerCertificate> CertificateAuthority::IssueToServer(
    absl::Time now, absl::Duration lifetime) const {
  KDBG_ASSIGN_OR_RETURN(const PrivateKey key, NewPrivateKey());
  const Template wanted{
      .common_name = kServerName,
      .key = key.get(),
      .not_after = std::min(now + lifetime, ExpireTimeOf(certificate_.get())),
      .extensions = {{NID_basic_constraints, "critical,CA:FALSE"},
                     {NID_key_usage, "critical,digitalSignature"},
                     {NID_ext_key_usage, "serverAuth"},
                     {NID_subject_alt_name, fmt::format("DNS:{}", kServerName)},
                     {NID_authority_key_identifier, "keyid"}},
  };
  KDBG_ASSIGN_OR_RETURN(const Certificate made, Sign(wanted, certificate_.get(), key_, now));
  KDBG_ASSIGN_OR_RETURN(std::string key_pem, ToPem(key));
  return ServerCertificate{.key_pem = std::move(key_pem), .chain_pem = ToPem(made.get()) + pem_};
}

}  // namespace kdbg::access
