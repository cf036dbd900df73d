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

}  // namespace
}  // namespace kdbg::service
