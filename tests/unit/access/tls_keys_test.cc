#include "server/access/tls_keys.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "tests/support/fake_clock.h"

namespace kdbg::access {
namespace {

class TlsKeysTest : public ::testing::Test {
 protected:
  TlsKeysTest() {
    std::string name = (std::filesystem::temp_directory_path() / "kdbg-keys-XXXXXX").native();
    directory_ = ::mkdtemp(name.data());
    authority_ = *CertificateAuthority::Open(directory_ / "own", clock_.Now());
    other_ = *CertificateAuthority::Open(directory_ / "org", clock_.Now());
  }
  ~TlsKeysTest() override { std::filesystem::remove_all(directory_); }

  // Files as an organisation would give them.
  config::Tls FromFiles() {
    const auto made = other_->IssueToServer(clock_.Now(), absl::Hours(24));
    config::Tls settings;
    settings.certificate = directory_ / "server.pem";
    settings.key = directory_ / "server.key";
    EXPECT_TRUE(WriteFileAtomic(settings.certificate, made->chain_pem).ok());
    EXPECT_TRUE(WriteFileAtomic(settings.key, made->key_pem, 0600).ok());
    return settings;
  }

  FakeClock clock_;
  std::filesystem::path directory_;
  std::unique_ptr<CertificateAuthority> authority_;
  std::unique_ptr<CertificateAuthority> other_;
};

TEST_F(TlsKeysTest, WithoutFilesEverythingIsOfOurOwnAuthority) {
  const auto keys = TlsKeys::Open({}, *authority_, clock_);
  ASSERT_TRUE(keys.ok()) << keys.status();
  const auto material = (*keys)->Current();
  EXPECT_EQ(material->fingerprint, authority_->fingerprint());
  EXPECT_EQ(material->client_authority_pem, authority_->pem());
  EXPECT_EQ(material->server_name, kServerName);
}

TEST_F(TlsKeysTest, OurOwnCertificateIsReplacedLongBeforeItExpiresAndNotSooner) {
  const auto keys = TlsKeys::Open({}, *authority_, clock_);
  const auto first = (*keys)->Current();
  clock_.Advance(absl::Hours(24 * 10));
  ASSERT_TRUE((*keys)->Reload().ok());
  EXPECT_EQ((*keys)->Current(), first);
  clock_.Advance(absl::Hours(24 * 11));
  ASSERT_TRUE((*keys)->Reload().ok());
  EXPECT_NE((*keys)->Current()->chain_pem, first->chain_pem);
  EXPECT_EQ((*keys)->Current()->fingerprint, first->fingerprint) << "what codes carry stays";
}

TEST_F(TlsKeysTest, FilesThatChangeAreTakenAndTornOnesAreNot) {
  const config::Tls settings = FromFiles();
  const auto keys = TlsKeys::Open(settings, *authority_, clock_);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ((*keys)->Current()->fingerprint, other_->fingerprint());
  EXPECT_EQ((*keys)->Current()->server_name, "");
  FromFiles();
  const auto before = (*keys)->Current();
  ASSERT_TRUE((*keys)->Reload().ok());
  const auto after = (*keys)->Current();
  EXPECT_NE(after->chain_pem, before->chain_pem);
  ASSERT_TRUE(WriteFileAtomic(settings.certificate, "torn").ok());
  EXPECT_EQ((*keys)->Reload().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*keys)->Current(), after);
}

TEST_F(TlsKeysTest, AFileThatIsNoGoodIsNamed) {
  const auto refused = [&](const config::Tls& settings, const std::filesystem::path& file) {
    const absl::Status status = TlsKeys::Open(settings, *authority_, clock_).status();
    EXPECT_TRUE(HasReason(status, Reason::kConfigInvalid)) << status;
    EXPECT_NE(status.message().find(file.native()), status.message().npos) << status;
  };
  config::Tls settings = FromFiles();
  settings.client_ca = directory_ / "no-such.pem";
  refused(settings, settings.client_ca);
  settings.client_ca = settings.key;
  refused(settings, settings.client_ca);
  settings.client_ca = settings.certificate;
  settings.client_crl = settings.certificate;
  refused(settings, settings.client_crl);
  settings.client_crl.clear();
  ASSERT_TRUE(WriteFileAtomic(settings.key, *ToPem(*NewPrivateKey()), 0600).ok());
  refused(settings, settings.key);
}

}  // namespace
}  // namespace kdbg::access
