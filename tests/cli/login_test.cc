// kdbgctl's way in over TLS, against the real door.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "proto/support/file.h"
#include "proto/support/x509.h"
#include "tests/cli/cli_fixture.h"
#include "tests/contract/kit/tls_server.h"

namespace kdbg::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LoginTest : public CliTest {
 protected:
  LoginTest() {
    std::erase_if(environment_, [](const std::string& v) { return v.starts_with("KDBG_SERVER="); });
  }

  std::filesystem::path IdentityOf(const TlsServer& server) const {
    return home_ / ".config/kdbg/tls" / (server.address() + ".pem");
  }
  void WriteIdentity(const TlsServer& server, const ClientKeys& keys,
                     const std::string& authority_pem) {
    WriteFile(".config/kdbg/tls/" + server.address() + ".pem",
              "server-name: kdbgd\n" + keys.key_pem + keys.certificate_pem + authority_pem);
  }
  CliResult Info(const TlsServer& server) { return Run({"--server", server.address(), "info"}); }
};

TEST_F(LoginTest, OneCodeAndTheServerIsTheDefaultAndKnowsWhoCalls) {
  TlsServer server;
  const CliResult login = Run({"login", server.address(), "--code", server.NewCode("carol")});
  EXPECT_EQ(login.exit_code, 0) << login.err;
  EXPECT_THAT(login.err, HasSubstr("You are carol (user)"));
  const CliResult info = Run({"info"});
  EXPECT_EQ(info.exit_code, 0) << info.err;
  EXPECT_THAT(info.out, HasSubstr("carol (user)"));
}

TEST_F(LoginTest, TheKeyIsForTheUserAlone) {
  TlsServer server;
  Run({"login", server.address(), "--code", server.NewCode("carol")});
  for (const std::filesystem::path& path : {IdentityOf(server), IdentityOf(server).parent_path()}) {
    struct stat status = {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0) << path;
    EXPECT_EQ(status.st_mode & 077, 0u) << path;
  }
}

TEST_F(LoginTest, TheCodeMayComeFromStandardInput) {
  TlsServer server;
  EXPECT_EQ(Run({"login", server.address()}, server.NewCode("carol") + "\n").exit_code, 0);
}

TEST_F(LoginTest, ADefaultThatIsSetStays) {
  TlsServer server;
  WriteFile(".config/kdbg/config.toml", "server = \"" + server_address() + "\"\n");
  const CliResult login = Run({"login", server.address(), "--code", server.NewCode("carol")});
  EXPECT_EQ(login.exit_code, 0) << login.err;
  EXPECT_THAT(login.err, HasSubstr("--server " + server.address()));
  EXPECT_THAT(Run({"info"}).out, HasSubstr("big"));
}

TEST_F(LoginTest, ACodeIsNotShownToAServerThatDidNotMakeIt) {
  TlsServer server;
  TlsServer impostor;
  const std::string code = server.NewCode("carol");
  const CliResult fooled = Run({"login", impostor.address(), "--code", code});
  EXPECT_EQ(fooled.exit_code, 4);
  EXPECT_THAT(fooled.err, HasSubstr("is not the server that made this code"));
  EXPECT_EQ(Run({"login", server.address(), "--code", code}).exit_code, 0) << "not used up";
}

TEST_F(LoginTest, AUsedCodeSaysWhomToAsk) {
  TlsServer server;
  const std::string code = server.NewCode("carol");
  EXPECT_EQ(Run({"login", server.address(), "--code", code}).exit_code, 0);
  const CliResult again = Run({"login", server.address(), "--code", code});
  EXPECT_EQ(again.exit_code, 4);
  EXPECT_THAT(again.err, HasSubstr("kdbgd user add"));
}

TEST_F(LoginTest, ATornCodeIsAMistakeOfTheCommandLineAndNotRepeated) {
  TlsServer server;
  const std::string code = server.NewCode("carol").substr(0, 40);
  const CliResult torn = Run({"login", server.address(), "--code", code});
  EXPECT_EQ(torn.exit_code, 2);
  EXPECT_THAT(torn.err, Not(HasSubstr(code)));
}

TEST_F(LoginTest, WithoutALoginTheWayToOneIsSaid) {
  TlsServer server;
  const CliResult info = Info(server);
  EXPECT_EQ(info.exit_code, 4);
  EXPECT_THAT(info.err, HasSubstr("kdbgctl login " + server.address()));
}

TEST_F(LoginTest, ARevokedUserIsToldSo) {
  TlsServer server;
  Run({"login", server.address(), "--code", server.NewCode("carol")});
  ASSERT_TRUE(server.enrolled().Revoke("carol").ok());
  const CliResult info = Info(server);
  EXPECT_EQ(info.exit_code, 4);
  EXPECT_THAT(info.err, HasSubstr("revoked"));
}

TEST_F(LoginTest, AnExpiredCertificateIsToldWithItsDay) {
  TlsServer server;
  const PrivateKey key = *NewPrivateKey();
  const auto old = server.authority().IssueToUser("carol", *NewCertificateRequest(key),
                                                  absl::UnixEpoch() + absl::Hours(24 * 365 * 30),
                                                  absl::Hours(24));
  WriteIdentity(server, {.key_pem = *ToPem(key), .certificate_pem = old->pem},
                server.authority().pem());
  const CliResult info = Info(server);
  EXPECT_EQ(info.exit_code, 4);
  EXPECT_THAT(info.err, HasSubstr("expired on 1999-12-"));
}

TEST_F(LoginTest, ACertificateOfAnotherServerIsRefusedWithWordsAboutIt) {
  TlsServer server;
  TlsServer other;
  WriteIdentity(server, other.NewUser("carol"), server.authority().pem());
  const CliResult info = Info(server);
  EXPECT_EQ(info.exit_code, 4) << info.err;
  EXPECT_THAT(info.err, HasSubstr("does not take this machine's certificate"));
}

TEST_F(LoginTest, AnotherServerInItsPlaceIsNotSpokenTo) {
  TlsServer server;
  TlsServer other;
  WriteIdentity(server, other.NewUser("carol"), other.authority().pem());
  const CliResult info = Info(server);
  EXPECT_EQ(info.exit_code, 4) << info.err;
  EXPECT_THAT(info.err, HasSubstr("could not show that it is the server"));
}

TEST_F(LoginTest, ACertificateThatWearsOutIsRenewedInUse) {
  TlsServerOptions options;
  options.settings.certificate_lifetime = absl::Minutes(20);  // most of the time it is dated back
  TlsServer server(options);
  Run({"login", server.address(), "--code", server.NewCode("carol")});
  const std::string before = *ReadFile(IdentityOf(server));
  EXPECT_EQ(Info(server).exit_code, 0);
  const std::string after = *ReadFile(IdentityOf(server));
  EXPECT_NE(after, before);
  EXPECT_EQ(Info(server).exit_code, 0) << "with what was renewed";
}

TEST_F(LoginTest, OnlyAnAddressOfTlsTakesALogin) {
  EXPECT_EQ(Run({"login", "ssh://box", "--code", "x"}).exit_code, 2);
  EXPECT_EQ(Run({"login", "box", "--code", "x"}).exit_code, 2);
}

}  // namespace
}  // namespace kdbg::test
