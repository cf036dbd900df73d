// The one-time code that lets a machine in: a secret for the server, and for the machine the
// fingerprint by which it knows that it speaks to the right server. Pure.
//
//   kdbg-<64 characters>: base64url of 16 bytes of secret and 32 bytes of SHA-256
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg {

struct EnrollmentCode {
  static constexpr std::size_t kSecretBytes = 16;
  static constexpr std::size_t kFingerprintBytes = 32;
  std::string secret;       // raw
  std::string fingerprint;  // raw; of the last certificate that the server shows
};

std::string ToString(const EnrollmentCode& code);
// White space around it is none of it. INVALID_ARGUMENT (kFieldInvalid, field "code").
absl::StatusOr<EnrollmentCode> ParseEnrollmentCode(std::string_view text);

}  // namespace kdbg
