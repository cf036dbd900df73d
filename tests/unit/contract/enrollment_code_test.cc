#include "proto/contract/enrollment_code.h"

#include <gtest/gtest.h>

#include "proto/contract/error.h"

namespace kdbg {
namespace {

const EnrollmentCode kCode = {.secret = std::string(16, '\xfb'),
                              .fingerprint = std::string(32, '\x01')};

TEST(EnrollmentCodeTest, LeadsBackToItsParts) {
  const auto parsed = ParseEnrollmentCode(" " + ToString(kCode) + "\n");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->secret, kCode.secret);
  EXPECT_EQ(parsed->fingerprint, kCode.fingerprint);
}

TEST(EnrollmentCodeTest, HoldsNothingThatAShellOrALineEndWouldChange) {
  EXPECT_EQ(ToString(kCode).find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789-_"),
            std::string::npos);
}

TEST(EnrollmentCodeTest, AnythingElseIsRefusedAndNotRepeated) {
  const std::string text = ToString(kCode);
  for (const std::string& wrong :
       {std::string(), std::string("kdbg-"), text.substr(1), text.substr(0, text.size() - 1),
        text + "A", "kdbg-" + std::string(64, '='), "kdbg- " + text.substr(6),
        "xdbg-" + text.substr(5)}) {
    const absl::Status status = ParseEnrollmentCode(wrong).status();
    EXPECT_TRUE(HasReason(status, Reason::kFieldInvalid)) << wrong;
    const std::string secret = wrong.substr(0, 40);
    EXPECT_TRUE(secret.size() < 8 || status.message().find(secret) == status.message().npos);
  }
}

}  // namespace
}  // namespace kdbg
