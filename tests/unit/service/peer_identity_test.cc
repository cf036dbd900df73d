#include "server/service/peer_identity.h"

#include <gtest/gtest.h>

namespace kdbg::service {
namespace {

TEST(PeerIdentityTest, TheUidIsInTheNameTheRelayGave) {
  EXPECT_EQ(UidOfPeer("unix-abstract:kdbg/uid=1000/7"), 1000u);
  EXPECT_EQ(UidOfPeer("unix-abstract:kdbg/uid=0/deadbeef"), 0u);
  EXPECT_EQ(UidOfPeer("unix-abstract:kdbg%2Fuid%3D1000%2F7"), 1000u);
  EXPECT_EQ(UidOfPeer("unix-abstract:" + RelayName(1000, 7).substr(1)), 1000u);
}

TEST(PeerIdentityTest, EverythingElseIsNobody) {
  for (const char* peer :
       {"", "unix:", "unix:/run/kdbgd/x", "ipv4:127.0.0.1:80",
        "unix-abstract:kdbg/uid=", "unix-abstract:kdbg/uid=/7", "unix-abstract:kdbg/uid=-1/7",
        "unix-abstract:kdbg/uid=1000", "unix-abstract:kdbg/uid=10x/7",
        "unix-abstract:kdbg/uid=4294967295/7", "unix-abstract:kdbg/uid=99999999999/7",
        "unix-abstract:other/uid=0/7", "unix:kdbg/uid=0/7"}) {
    SCOPED_TRACE(peer);
    EXPECT_FALSE(UidOfPeer(peer));
  }
}

TEST(PeerIdentityTest, ATlsConnectionIsANumberAndNoUid) {
  const std::string peer = "unix-abstract:" + TlsRelayName(0xadc1e1f0fb47965a).substr(1);
  EXPECT_EQ(TlsConnectionOfPeer(peer), 0xadc1e1f0fb47965a);
  EXPECT_FALSE(UidOfPeer(peer));
  EXPECT_FALSE(TlsConnectionOfPeer("unix-abstract:kdbg/uid=1000/7"));
  for (const char* other :
       {"", "unix-abstract:kdbg/tls/", "unix-abstract:kdbg/tls/x", "unix-abstract:kdbg/tls/7/",
        "unix:kdbg/tls/7", "ipv4:127.0.0.1:80", "unix-abstract:kdbg/tls/11112222333344445"}) {
    EXPECT_FALSE(TlsConnectionOfPeer(other)) << other;
  }
}

}  // namespace
}  // namespace kdbg::service
