#include "server/access/certificate_authority.h"

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"

namespace kdbg::access {
namespace {

using Store = std::unique_ptr<X509_STORE, OpenSslFree<&X509_STORE_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, OpenSslFree<&X509_STORE_CTX_free>>;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

class CertificateAuthorityTest : public ::testing::Test {
 protected:
  CertificateAuthorityTest() {
    std::string name = (std::filesystem::temp_directory_path() / "kdbg-ca-XXXXXX").native();
    directory_ = ::mkdtemp(name.data());
  }
  ~CertificateAuthorityTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<CertificateAuthority> Open() const {
    auto authority = CertificateAuthority::Open(directory_, kNow);
    EXPECT_TRUE(authority.ok()) << authority.status();
    return authority.ok() ? *std::move(authority) : nullptr;
  }

  std::filesystem::path directory_;
};

std::string NewRequest() { return *NewCertificateRequest(*NewPrivateKey()); }

// As TLS would look at it. 0 is good.
int Verify(const std::string& pem, const std::string& authority_pem, int purpose, absl::Time at) {
  const auto certificate = CertificatesFromPem(pem);
  const auto authority = CertificatesFromPem(authority_pem);
  const Store store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), authority->front().get());
  const StoreContext context(X509_STORE_CTX_new());
  X509_STORE_CTX_init(context.get(), store.get(), certificate->front().get(), nullptr);
  X509_STORE_CTX_set_purpose(context.get(), purpose);
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(at));
  X509_verify_cert(context.get());
  return X509_STORE_CTX_get_error(context.get());
}

TEST_F(CertificateAuthorityTest, IsTheSameAfterARestart) {
  const auto first = Open();
  const auto second = Open();
  EXPECT_EQ(first->pem(), second->pem());
  EXPECT_EQ(first->fingerprint().size(), 32u);
}

TEST_F(CertificateAuthorityTest, ItsFilesAreReadableByTheDaemonAlone) {
  std::filesystem::remove(directory_);
  Open();
  for (const char* name : {".", "ca.key", "ca.pem"}) {
    struct stat status = {};
    ASSERT_EQ(::stat((directory_ / name).c_str(), &status), 0) << name;
    EXPECT_EQ(status.st_mode & 077, 0u) << name;
  }
}

TEST_F(CertificateAuthorityTest, HalfOfItIsRefusedAndNotReplaced) {
  Open();
  const std::string certificate = *ReadFile(directory_ / "ca.pem");
  std::filesystem::remove(directory_ / "ca.key");
  const auto reopened = CertificateAuthority::Open(directory_, kNow);
  EXPECT_EQ(reopened.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*ReadFile(directory_ / "ca.pem"), certificate);
}

TEST_F(CertificateAuthorityTest, AKeyOfAnotherAuthorityIsRefused) {
  Open();
  ASSERT_TRUE(WriteFileAtomic(directory_ / "ca.key", *ToPem(*NewPrivateKey()), 0600).ok());
  EXPECT_EQ(CertificateAuthority::Open(directory_, kNow).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// Cut off between its two files, a first start leaves a key and no certificate; so does a backup
// without it, and then there are users.
TEST_F(CertificateAuthorityTest, AKeyWithoutItsCertificateIsKeptAndWhoWasLetInIsStillKnown) {
  const auto issued = Open()->IssueToUser("alice", NewRequest(), kNow, absl::Hours(24));
  const std::string key = *ReadFile(directory_ / "ca.key");
  std::filesystem::remove(directory_ / "ca.pem");
  const auto again = Open();
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(*ReadFile(directory_ / "ca.key"), key);
  EXPECT_EQ(Verify(issued->pem, again->pem(), X509_PURPOSE_SSL_CLIENT, kNow + absl::Hours(1)), 0);
}

TEST_F(CertificateAuthorityTest, AUsersCertificateIsGoodAsAClientOnlyAndNamesTheUser) {
  const auto authority = Open();
  const auto issued = authority->IssueToUser("alice", NewRequest(), kNow, absl::Hours(24));
  ASSERT_TRUE(issued.ok()) << issued.status();
  EXPECT_EQ(Verify(issued->pem, authority->pem(), X509_PURPOSE_SSL_CLIENT, kNow), X509_V_OK);
  EXPECT_NE(Verify(issued->pem, authority->pem(), X509_PURPOSE_SSL_SERVER, kNow), X509_V_OK);
  const auto parsed = CertificatesFromPem(issued->pem);
  EXPECT_EQ(CommonNameOf(parsed->front().get()), "alice");
  EXPECT_EQ(SerialNumberOf(parsed->front().get()), issued->serial);
  EXPECT_EQ(issued->expire_time, kNow + absl::Hours(24));
}

TEST_F(CertificateAuthorityTest, AUsersCertificateExpiresAndOneOfAnotherAuthorityIsNoGood) {
  const auto authority = Open();
  const auto issued = authority->IssueToUser("alice", NewRequest(), kNow, absl::Hours(24));
  EXPECT_EQ(Verify(issued->pem, authority->pem(), X509_PURPOSE_SSL_CLIENT, kNow + absl::Hours(25)),
            X509_V_ERR_CERT_HAS_EXPIRED);
  const auto other = CertificateAuthority::Open(directory_ / "other", kNow);
  EXPECT_NE(Verify(issued->pem, (*other)->pem(), X509_PURPOSE_SSL_CLIENT, kNow), X509_V_OK);
}

TEST_F(CertificateAuthorityTest, AServersCertificateIsGoodAsAServerOnly) {
  const auto authority = Open();
  const auto made = authority->IssueToServer(kNow, absl::Hours(24));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(Verify(made->chain_pem, authority->pem(), X509_PURPOSE_SSL_SERVER, kNow), X509_V_OK);
  EXPECT_NE(Verify(made->chain_pem, authority->pem(), X509_PURPOSE_SSL_CLIENT, kNow), X509_V_OK);
  const auto chain = CertificatesFromPem(made->chain_pem);
  EXPECT_EQ(Sha256Of(chain->back().get()), authority->fingerprint());
  EXPECT_EQ(X509_check_host(chain->front().get(), kServerName, 0, 0, nullptr), 1);
}

TEST_F(CertificateAuthorityTest, NothingOutlivesTheAuthority) {
  const auto authority = Open();
  const auto issued =
      authority->IssueToUser("alice", NewRequest(), kNow, absl::Hours(24 * 365 * 40));
  EXPECT_LT(issued->expire_time, kNow + absl::Hours(24 * 365 * 11));
}

TEST_F(CertificateAuthorityTest, ARequestMustBeSignedByItsOwnKeyAndTheKeyBeStrong) {
  const auto authority = Open();
  const auto refuse = [&](const std::string& request) {
    const auto issued = authority->IssueToUser("alice", request, kNow, absl::Hours(1));
    EXPECT_EQ(issued.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(HasReason(issued.status(), Reason::kFieldInvalid));
  };
  refuse("");
  refuse("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n");
  refuse(authority->pem());
  refuse(std::string(kPemLimit + 1, 'x'));
  const PrivateKey weak(EVP_RSA_gen(1024));
  refuse(*NewCertificateRequest(weak));
  // The key of one, signed by another.
  const CertificateRequest stolen(X509_REQ_new());
  X509_REQ_set_pubkey(stolen.get(), NewPrivateKey()->get());
  X509_REQ_sign(stolen.get(), NewPrivateKey()->get(), EVP_sha256());
  unsigned char* der = nullptr;
  const int size = i2d_X509_REQ(stolen.get(), &der);
  std::string base64(static_cast<std::size_t>(size) * 2, '\0');
  base64.resize(static_cast<std::size_t>(
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()), der, size)));
  OPENSSL_free(der);
  std::string pem = "-----BEGIN CERTIFICATE REQUEST-----\n";
  for (std::size_t at = 0; at < base64.size(); at += 64) pem += base64.substr(at, 64) + "\n";
  refuse(pem + "-----END CERTIFICATE REQUEST-----\n");
}

}  // namespace
}  // namespace kdbg::access
