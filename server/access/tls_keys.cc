#include "server/access/tls_keys.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/x509.h"

namespace kdbg::access {
namespace {

constexpr absl::Duration kServerLifetime = absl::Hours(24 * 30);

absl::Status Unusable(const std::filesystem::path& file, std::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
                   fmt::format("{}: {}", file.string(), why));
}

absl::StatusOr<std::string> ReadPem(const std::filesystem::path& file) {
  auto text = ReadFile(file, kPemLimit);
  if (!text.ok()) return Unusable(file, std::string(text.status().message()));
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsKeys>> TlsKeys::Open(const config::Tls& settings,
                                                       const CertificateAuthority& authority,
                                                       const Clock& clock) {
  std::unique_ptr<TlsKeys> keys(new TlsKeys(settings, authority, clock));
  KDBG_RETURN_IF_ERROR(keys->Reload());
  return keys;
}

absl::StatusOr<TlsMaterial> TlsKeys::Read(const TlsMaterial* before) const {
  TlsMaterial read;
  const bool own = settings_.certificate.empty();
  if (own) {
    read.server_name = kServerName;
    if (before != nullptr && before->expire_time - clock_.Now() > kServerLifetime / 3) {
      read.key_pem = before->key_pem;
      read.chain_pem = before->chain_pem;
    } else {
      KDBG_ASSIGN_OR_RETURN(ServerCertificate made,
                            authority_.IssueToServer(clock_.Now(), kServerLifetime));
      read.key_pem = std::move(made.key_pem);
      read.chain_pem = std::move(made.chain_pem);
    }
  } else {
    KDBG_ASSIGN_OR_RETURN(read.key_pem, ReadPem(settings_.key));
    KDBG_ASSIGN_OR_RETURN(read.chain_pem, ReadPem(settings_.certificate));
  }
  const auto key = PrivateKeyFromPem(read.key_pem);
  if (!key.ok()) return Unusable(settings_.key, std::string(key.status().message()));
  const auto chain = CertificatesFromPem(read.chain_pem);
  if (!chain.ok()) {
    return Unusable(settings_.certificate, std::string(chain.status().message()));
  }
  if (X509_check_private_key(chain->front().get(), key->get()) != 1) {
    (void)OpenSslError();
    return Unusable(settings_.key, fmt::format("it is not the key of the first certificate in {}",
                                               settings_.certificate.string()));
  }
  read.expire_time = ExpireTimeOf(chain->front().get());
  read.anchor_pem = ToPem(chain->back().get());
  read.fingerprint = Sha256Of(chain->back().get());
  read.client_authority_pem = authority_.pem();
  if (!settings_.client_ca.empty()) {
    KDBG_ASSIGN_OR_RETURN(read.client_authority_pem, ReadPem(settings_.client_ca));
    const auto authorities = CertificatesFromPem(read.client_authority_pem);
    if (!authorities.ok()) {
      return Unusable(settings_.client_ca, std::string(authorities.status().message()));
    }
  }
  if (!settings_.client_crl.empty()) {
    KDBG_ASSIGN_OR_RETURN(read.client_crl_pem, ReadPem(settings_.client_crl));
    const auto list = RevocationListFromPem(read.client_crl_pem);
    if (!list.ok()) {
      return Unusable(settings_.client_crl, std::string(list.status().message()));
    }
  }
  return read;
}

absl::Status TlsKeys::Reload() {
  const std::shared_ptr<const TlsMaterial> before = Current();
  KDBG_ASSIGN_OR_RETURN(TlsMaterial read, Read(before.get()));
  if (before != nullptr && read == *before) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  current_ = std::make_shared<const TlsMaterial>(std::move(read));
  return absl::OkStatus();
}

}  // namespace kdbg::access
