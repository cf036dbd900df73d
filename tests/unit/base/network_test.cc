#include "server/base/network.h"

#include <gtest/gtest.h>

namespace kdbg {
namespace {

TEST(Network, HoldsTheAddressesOfItsBlock) {
  const auto office = Network::Parse("10.1.0.0/16");
  ASSERT_TRUE(office);
  EXPECT_TRUE(office->Contains("10.1.255.3"));
  EXPECT_TRUE(office->Contains("::ffff:10.1.2.3")) << "as a listener for both families says it";
  EXPECT_FALSE(office->Contains("10.2.0.1"));
  EXPECT_FALSE(office->Contains("fd00::1"));
  EXPECT_FALSE(office->Contains("office"));
  EXPECT_TRUE(Network::Parse("fd00::/8")->Contains("fd12::1"));
  EXPECT_TRUE(Network::Parse("192.0.2.7")->Contains("192.0.2.7"));
  EXPECT_FALSE(Network::Parse("192.0.2.7")->Contains("192.0.2.6"));
  EXPECT_TRUE(Network::Parse("0.0.0.0/0")->Contains("203.0.113.9"));
  EXPECT_FALSE(Network::Parse("0.0.0.0/0")->Contains("2001:db8::1"));
}

TEST(Network, OtherTextIsNone) {
  for (const char* text : {"", "office", "10.1.0.0/33", "10.1.0.1/16", "10.1.0.0/", "10.1.0.0/-1",
                           "10.1.0.0/8x", "fd00::/129", "10.1/16", "/8"}) {
    EXPECT_FALSE(Network::Parse(text)) << text;
  }
}

}  // namespace
}  // namespace kdbg
