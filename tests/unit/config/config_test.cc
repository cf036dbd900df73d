#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kdbg::config {
namespace {

using ::testing::HasSubstr;

std::string MessageOf(std::string_view text) {
  const auto config = ParseConfig(text, "kdbgd.toml");
  return config.ok() ? "accepted" : std::string(config.status().message());
}

TEST(ConfigTest, AnEmptyFileIsAllDefaults) {
  const auto config = ParseConfig("", "kdbgd.toml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->server.listen.empty());
  EXPECT_EQ(config->build.parallel, 1);
}

TEST(ConfigTest, EveryKindOfValueArrives) {
  const auto config = ParseConfig(R"(
[server]
listen = ["unix:/run/a.sock", "unix:/run/b.sock"]
state_dir = "/srv/kdbg"
[access]
others_are_users = false
[session]
first_port = 30000
last_port = 30010
default_ttl = "90m"
)",
                                  "kdbgd.toml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->server.listen.size(), 2u);
  EXPECT_EQ(config->server.state_dir, "/srv/kdbg");
  EXPECT_FALSE(config->access.others_are_users);
  EXPECT_EQ(config->session.last_port, 30010);
  EXPECT_EQ(config->session.default_ttl, absl::Minutes(90));
}

TEST(ConfigTest, AnUnknownKeyIsNamedWithItsPlaceAndTheKnownOnes) {
  const std::string message = MessageOf("[session]\nfirst_prot = 1\n");
  EXPECT_THAT(message, HasSubstr("kdbgd.toml:2:1: unknown key 'first_prot' in [session]"));
  EXPECT_THAT(message, HasSubstr("first_port"));
}

TEST(ConfigTest, AnUnknownSectionIsNamed) {
  EXPECT_THAT(MessageOf("[sesion]\n"), HasSubstr("unknown section 'sesion'"));
}

TEST(ConfigTest, AWrongTypeIsNamedWithItsPlace) {
  EXPECT_THAT(MessageOf("[build]\njobs = \"many\"\n"),
              HasSubstr("kdbgd.toml:2:8: build.jobs must be a whole number from 0 to 1024"));
}

TEST(ConfigTest, MetricsAreForThisHostOnly) {
  EXPECT_EQ(MessageOf("[metrics]\nlisten = \"127.0.0.1:9480\"\n"), "accepted");
  EXPECT_EQ(MessageOf("[metrics]\nlisten = \"[::1]:9480\"\n"), "accepted");
  for (const std::string wrong : {"0.0.0.0:9480", "10.0.0.1:9480", "[::]:9480", "9480",
                                  "localhost:9480", "127.0.0.1", "unix:/run/metrics"}) {
    EXPECT_THAT(MessageOf("[metrics]\nlisten = \"" + wrong + "\"\n"),
                HasSubstr("metrics.listen: '" + wrong + "' is not an address of the loopback"));
  }
}

TEST(ConfigTest, AProfileIsForGuestsOfTheEmbeddedHypervisor) {
  const std::string profile = "[libvirt]\napparmor_profile = \"kdbgd-guest\"\n";
  EXPECT_EQ(MessageOf(profile), "accepted");
  EXPECT_EQ(MessageOf(profile + "uri = \"qemu:///embed?root=/var/lib/v\"\n"), "accepted");
  EXPECT_THAT(MessageOf(profile + "uri = \"qemu:///system\"\n"),
              HasSubstr("libvirt.apparmor_profile is for guests of the embedded hypervisor"));
}

TEST(ConfigTest, BrokenTomlIsNamedWithItsPlace) {
  EXPECT_THAT(MessageOf("[build\njobs = 1\n"), HasSubstr("kdbgd.toml:1:"));
}

TEST(ConfigTest, TcpWithoutTlsIsRefusedWithTheWaysThatWork) {
  const std::string message = MessageOf("[server]\nlisten = [\"0.0.0.0:7443\"]\n");
  EXPECT_THAT(message, HasSubstr("[tls]"));
  EXPECT_THAT(message, HasSubstr("ssh://HOST"));
  EXPECT_TRUE(ParseConfig("[server]\nlisten = [\"[::]:7443\"]\n[tls]\n", "x").ok());
}

TEST(ConfigTest, AnAddressIsInNumbersAndHasAPort) {
  EXPECT_EQ(ParseTcpAddress("0.0.0.0:7443")->port, 7443);
  EXPECT_EQ(ParseTcpAddress("[2001:db8::1]:1")->host, "2001:db8::1");
  EXPECT_EQ(ParseTcpAddress("127.0.0.1:0")->port, 0);
  for (const char* wrong :
       {"", ":", "localhost:7443", "0.0.0.0", "0.0.0.0:", "0.0.0.0:-1", "0.0.0.0:65536",
        "0.0.0.0:7443x", "::1:7443", "[::1]", "[0.0.0.0]:1", "tcp://0.0.0.0:7443"}) {
    EXPECT_FALSE(ParseTcpAddress(wrong)) << wrong;
  }
  EXPECT_THAT(MessageOf("[server]\nlisten = [\"everywhere:7443\"]\n[tls]\n"),
              HasSubstr("everywhere:7443"));
}

TEST(ConfigTest, TlsFilesGoTogether) {
  EXPECT_THAT(MessageOf("[tls]\ncertificate = \"/a\"\n"), HasSubstr("tls.key"));
  EXPECT_THAT(MessageOf("[tls]\nclient_crl = \"/a\"\n"), HasSubstr("tls.client_ca"));
  EXPECT_THAT(MessageOf("[tls]\ncertificate_lifetime = \"5m\"\n"), HasSubstr("1h"));
  const auto config = ParseConfig("[tls]\ncertificate_lifetime = \"48h\"\n", "x");
  ASSERT_TRUE(config.ok() && config->tls);
  EXPECT_EQ(config->tls->certificate_lifetime, absl::Hours(48));
  EXPECT_FALSE(ParseConfig("", "x")->tls);
}

TEST(ConfigTest, APortRangeThatIsUpsideDownIsRefused) {
  EXPECT_THAT(MessageOf("[session]\nfirst_port = 3000\nlast_port = 2000\n"),
              HasSubstr("first_port is above"));
}

}  // namespace
}  // namespace kdbg::config
