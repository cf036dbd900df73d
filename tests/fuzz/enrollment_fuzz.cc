// What comes from people nobody knows yet: codes and certificate requests. A code that is taken is
// the same when it is written again; a request that is taken has a key.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "proto/contract/enrollment_code.h"
#include "proto/support/x509.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto code = kdbg::ParseEnrollmentCode(text); code.ok()) {
    if (text.find(ToString(*code)) == std::string::npos) std::abort();
  }
  if (const auto request = kdbg::CertificateRequestFromPem(text); request.ok()) {
    if (X509_REQ_get0_pubkey(request->get()) == nullptr) std::abort();
  }
  if (const auto chain = kdbg::CertificatesFromPem(text); chain.ok()) {
    for (const kdbg::Certificate& certificate : *chain) {
      (void)kdbg::CommonNameOf(certificate.get());
      (void)kdbg::SerialNumberOf(certificate.get());
      (void)kdbg::ExpireTimeOf(certificate.get());
    }
  }
  (void)kdbg::RevocationListFromPem(text);
  return 0;
}
