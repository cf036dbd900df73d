#include "proto/contract/enrollment_code.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "proto/contract/error.h"

namespace kdbg {
namespace {

constexpr std::string_view kPrefix = "kdbg-";

// Debian's Abseil has a string_view of its own.
absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

std::string ToString(const EnrollmentCode& code) {
  return std::string(kPrefix) + absl::WebSafeBase64Escape(code.secret + code.fingerprint);
}

absl::StatusOr<EnrollmentCode> ParseEnrollmentCode(std::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(View(text));
  const std::string_view code(trimmed.data(), trimmed.size());
  std::string bytes;
  constexpr std::size_t kBytes = EnrollmentCode::kSecretBytes + EnrollmentCode::kFingerprintBytes;
  if (code.starts_with(kPrefix) && code.size() == kPrefix.size() + kBytes / 3 * 4 &&
      absl::WebSafeBase64Unescape(View(code.substr(kPrefix.size())), &bytes) &&
      bytes.size() == kBytes) {
    EnrollmentCode parsed{.secret = bytes.substr(0, EnrollmentCode::kSecretBytes),
                          .fingerprint = bytes.substr(EnrollmentCode::kSecretBytes)};
    // Abseil overlooks spaces and padding; a code has one form.
    if (ToString(parsed) == code) return parsed;
  }
  // The value is a secret, even a mistyped one: it is not repeated.
  return InvalidField("code", "",
                      "this is no whole enrolment code: copy it from `kdbgd user add`, from kdbg- "
                      "to its last character");
}

}  // namespace kdbg
