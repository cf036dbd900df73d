#include "server/service/byte_pace.h"

#include <gtest/gtest.h>

#include "tests/support/fake_clock.h"

namespace kdbg::service {
namespace {

TEST(BytePaceTest, WhoIsAheadOfTheRateWaits) {
  FakeClock clock;
  BytePace pace(clock, 1000);
  EXPECT_EQ(pace.Took("alice", 500), absl::Milliseconds(500));
  EXPECT_EQ(pace.Took("alice", 500), absl::Seconds(1)) << "two uploads share one rate";
  EXPECT_EQ(pace.Took("bob", 100), absl::Milliseconds(100));
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(pace.Took("alice", 500), absl::Milliseconds(500)) << "nothing is saved up";
}

TEST(BytePaceTest, WithoutARateNobodyWaits) {
  FakeClock clock;
  BytePace pace(clock, 0);
  EXPECT_EQ(pace.Took("alice", 1 << 30), absl::ZeroDuration());
}

}  // namespace
}  // namespace kdbg::service
