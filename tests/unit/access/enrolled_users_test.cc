#include "server/access/enrolled_users.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "tests/support/fake_clock.h"

namespace kdbg::access {
namespace {

constexpr char kHere[] = "192.0.2.1";

class EnrolledUsersTest : public ::testing::Test {
 protected:
  EnrolledUsersTest() {
    std::string name = (std::filesystem::temp_directory_path() / "kdbg-users-XXXXXX").native();
    directory_ = ::mkdtemp(name.data());
    authority_ = *CertificateAuthority::Open(directory_ / "tls", clock_.Now());
    database_ =
        *state::Database::Open(directory_ / "state.db", std::span(EnrolledUsers::Migrations()));
    Reopen();
  }
  ~EnrolledUsersTest() override {
    users_.reset();
    database_.reset();
    std::filesystem::remove_all(directory_);
  }

  // What a restart of the daemon does.
  void Reopen() {
    EnrolledUsers::Settings settings;
    settings.kind = ClientAuthority::kOwn;
    settings.authority = authority_.get();
    settings.certificate_lifetime = absl::Hours(24 * 90);
    users_ = *EnrolledUsers::Open(*database_, clock_, settings);
  }

  std::string Code(const std::string& user, std::optional<Role> role = std::nullopt) {
    const auto code = users_->Invite(user, role, absl::Hours(1));
    EXPECT_TRUE(code.ok()) << code.status();
    return code.ok() ? code->secret : "";
  }
  absl::StatusOr<IssuedCertificate> Enroll(const std::string& secret,
                                           const std::string& from = kHere) {
    return users_->Enroll(secret, *NewCertificateRequest(*NewPrivateKey()), from);
  }
  CertificateClaim ClaimOf(const IssuedCertificate& issued) const {
    const auto parsed = CertificatesFromPem(issued.pem);
    return {.common_name = CommonNameOf(parsed->front().get()),
            .serial = issued.serial,
            .expire_time = issued.expire_time};
  }
  // Enrolled by a code of their own.
  CertificateClaim NewClaim(const std::string& user, std::optional<Role> role = std::nullopt) {
    const auto issued = Enroll(Code(user, role));
    EXPECT_TRUE(issued.ok()) << issued.status();
    return ClaimOf(*issued);
  }

  FakeClock clock_;
  std::filesystem::path directory_;
  std::unique_ptr<CertificateAuthority> authority_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<EnrolledUsers> users_;
};

TEST_F(EnrolledUsersTest, ACodeMakesACallerOfTheRoleTheAdminGave) {
  const auto principal = users_->FromCertificate(NewClaim("alice", Role::kViewer));
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_EQ(principal->user, "alice");
  EXPECT_EQ(principal->role, Role::kViewer);
  EXPECT_FALSE(principal->uid) << "no account of this host";
}

TEST_F(EnrolledUsersTest, ANewUserIsAUserAndARoleChangesAtOnce) {
  const CertificateClaim claim = NewClaim("alice");
  EXPECT_EQ(users_->FromCertificate(claim)->role, Role::kUser);
  Code("alice", Role::kAdmin);
  EXPECT_EQ(users_->FromCertificate(claim)->role, Role::kAdmin);
  Code("alice");
  EXPECT_EQ(users_->FromCertificate(claim)->role, Role::kAdmin);
}

TEST_F(EnrolledUsersTest, ACodeIsGoodOnce) {
  const std::string code = Code("alice");
  EXPECT_TRUE(Enroll(code).ok());
  EXPECT_EQ(Enroll(code).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(EnrolledUsersTest, ACodeExpires) {
  const std::string code = Code("alice");
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Enroll(code).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(EnrolledUsersTest, ABadRequestDoesNotUseUpTheCode) {
  const std::string code = Code("alice");
  EXPECT_EQ(users_->Enroll(code, "no request", kHere).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Enroll(code).ok());
}

TEST_F(EnrolledUsersTest, TooManyWrongCodesCloseTheDoorForThatAddressForAWhile) {
  const std::string code = Code("alice");
  for (int i = 0; i < AttemptLimit::kAtOnce; ++i) {
    EXPECT_EQ(Enroll("wrong").status().code(), absl::StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(Enroll(code).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Enroll(Code("bob"), "192.0.2.2").ok());
  clock_.Advance(AttemptLimit::kPeriod);
  EXPECT_TRUE(Enroll(code).ok());
}

TEST_F(EnrolledUsersTest, NoCodeAndNoSecretIsInTheDatabase) {
  const std::string code = Code("alice");
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(ReadFile(entry.path())->find(code), std::string::npos) << entry.path();
  }
}

TEST_F(EnrolledUsersTest, ARevokedUserIsNobodyAtOnceAndAfterARestart) {
  const CertificateClaim claim = NewClaim("alice");
  const std::string unused = Code("alice");
  const auto revoked = users_->Revoke("alice");
  ASSERT_TRUE(revoked.ok()) << revoked.status();
  EXPECT_TRUE(revoked->revoke_time);
  EXPECT_EQ(users_->FromCertificate(claim).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Enroll(unused).status().code(), absl::StatusCode::kPermissionDenied);
  Reopen();
  EXPECT_EQ(users_->FromCertificate(claim).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(EnrolledUsersTest, OneWhoIsLetInAgainComesByTheNewCertificateOnly) {
  const CertificateClaim old = NewClaim("alice");
  ASSERT_TRUE(users_->Revoke("alice").ok());
  const CertificateClaim fresh = NewClaim("alice");
  EXPECT_TRUE(users_->FromCertificate(fresh).ok());
  EXPECT_FALSE(users_->FromCertificate(old).ok());
}

TEST_F(EnrolledUsersTest, RevokingNobodyIsNotFoundAndRemovingNobodyIsDone) {
  EXPECT_EQ(users_->Revoke("nobody").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(users_->Remove("nobody").ok());
}

TEST_F(EnrolledUsersTest, ARemovedUserIsForgottenAndRefused) {
  const CertificateClaim claim = NewClaim("alice");
  ASSERT_TRUE(users_->Remove("alice").ok());
  EXPECT_FALSE(users_->FromCertificate(claim).ok());
  EXPECT_FALSE(users_->Has("alice"));
  EXPECT_TRUE(users_->List().empty());
}

TEST_F(EnrolledUsersTest, ACertificateOfOursWithoutARecordIsRefused) {
  const auto forged = authority_->IssueToUser("alice", *NewCertificateRequest(*NewPrivateKey()),
                                              clock_.Now(), absl::Hours(1));
  NewClaim("alice");
  EXPECT_EQ(users_->FromCertificate(ClaimOf(*forged)).status().code(),
            absl::StatusCode::kUnauthenticated);
}

TEST_F(EnrolledUsersTest, ACertificateExpiresInTheMiddleOfAConnection) {
  const CertificateClaim claim = NewClaim("alice");
  clock_.Advance(absl::Hours(24 * 90) - absl::Seconds(1));
  EXPECT_TRUE(users_->FromCertificate(claim).ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(users_->FromCertificate(claim).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(EnrolledUsersTest, ARenewedCertificateOutlivesTheOldOne) {
  const CertificateClaim old = NewClaim("alice");
  clock_.Advance(absl::Hours(24 * 60));
  const auto renewed =
      users_->Renew(*users_->FromCertificate(old), *NewCertificateRequest(*NewPrivateKey()));
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(users_->FromCertificate(old).ok());
  clock_.Advance(absl::Hours(24 * 31));
  EXPECT_FALSE(users_->FromCertificate(old).ok());
  EXPECT_EQ(users_->FromCertificate(ClaimOf(*renewed))->user, "alice");
}

TEST_F(EnrolledUsersTest, NobodyRenewsWithoutEnd) {
  const CertificateClaim first = NewClaim("alice");
  const std::string request = *NewCertificateRequest(*NewPrivateKey());
  absl::Status status;
  int renewed = 0;
  while (status.ok() && renewed < 1000) {
    status = users_->Renew(*users_->FromCertificate(first), request).status();
    renewed += status.ok() ? 1 : 0;
  }
  EXPECT_TRUE(HasReason(status, Reason::kQuotaExceeded)) << status;
  EXPECT_EQ(renewed, 63);
}

TEST_F(EnrolledUsersTest, OnlyWhoHasACertificateThatIsStillGoodRenewsIt) {
  const std::string request = *NewCertificateRequest(*NewPrivateKey());
  const Principal local{.user = "alice", .role = Role::kUser, .uid = 1000};
  EXPECT_EQ(users_->Renew(local, request).status().code(), absl::StatusCode::kFailedPrecondition);
  const Principal enrolled = *users_->FromCertificate(NewClaim("alice"));
  ASSERT_TRUE(users_->Revoke("alice").ok());
  EXPECT_EQ(users_->Renew(enrolled, request).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(EnrolledUsersTest, TheListTellsHowEverybodyStands) {
  NewClaim("alice");
  NewClaim("alice");
  Code("bob", Role::kViewer);
  const auto list = users_->List();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "alice");
  EXPECT_EQ(list[0].good_certificates, 2);
  EXPECT_EQ(list[1].good_certificates, 0);
  EXPECT_EQ(list[1].role, Role::kViewer);
  EXPECT_EQ(list[1].code_expire_time, clock_.Now() + absl::Hours(1));
}

TEST_F(EnrolledUsersTest, NamesThatMeanSomethingElseElsewhereAreRefused) {
  for (const std::string& name :
       {std::string(), std::string("uid:0"), std::string("a/b"), std::string("-v"),
        std::string("7up"), std::string("kdbgd:trusted"), std::string("a b"),
        std::string(65, 'a')}) {
    EXPECT_EQ(users_->Invite(name, {}, absl::Hours(1)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST_F(EnrolledUsersTest, ACodeLivesForAWeekAtMost) {
  EXPECT_FALSE(users_->Invite("alice", {}, absl::Hours(24 * 7 + 1)).ok());
  EXPECT_FALSE(users_->Invite("alice", {}, absl::Seconds(1)).ok());
}

TEST_F(EnrolledUsersTest, WithoutTlsThereAreNoCodesAndTheAnswerSaysWhatToConfigure) {
  users_ = *EnrolledUsers::Open(*database_, clock_, {});
  const absl::Status status = users_->Invite("alice", {}, absl::Hours(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("[tls]"), status.message().npos);
}

TEST_F(EnrolledUsersTest, AnotherAuthoritysPeopleHaveTheRolesOfTheConfiguration) {
  EnrolledUsers::Settings settings;
  settings.kind = ClientAuthority::kOther;
  settings.policy.users = {{"adam", Role::kAdmin}};
  settings.policy.others = Role::kViewer;
  users_ = *EnrolledUsers::Open(*database_, clock_, settings);
  const auto claim = [&](const std::string& name) {
    return CertificateClaim{name, "01", clock_.Now() + absl::Hours(1)};
  };
  EXPECT_EQ(users_->FromCertificate(claim("adam"))->role, Role::kAdmin);
  EXPECT_EQ(users_->FromCertificate(claim("carol"))->role, Role::kViewer);
  for (const char* name : {"", "uid:0", "kdbgd:trusted", "a b"}) {
    EXPECT_EQ(users_->FromCertificate(claim(name)).status().code(),
              absl::StatusCode::kUnauthenticated)
        << name;
  }
  EXPECT_EQ(users_->Invite("carol", {}, absl::Hours(1)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace kdbg::access
