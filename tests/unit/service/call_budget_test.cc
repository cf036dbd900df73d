#include "server/service/call_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "tests/support/fake_clock.h"

namespace kdbg::service {
namespace {

constexpr CallBudgetLimits kFew = {
    .calls_per_second = 10, .burst = 3, .calls_at_once = 2, .long_calls_at_once = 1};

TEST(CallBudgetTest, AfterABurstCallsComeAtTheRate) {
  FakeClock clock;
  CallBudget budget(clock, kFew);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.Begin("alice").ok()) << i;
  const absl::Status refused = budget.Begin("alice");
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(HasReason(refused, Reason::kTooManyCalls));
  EXPECT_EQ(GetErrorDetail(refused)->retry_delay, absl::Milliseconds(100));
  clock.Advance(absl::Milliseconds(100));
  EXPECT_TRUE(budget.Begin("alice").ok());
  EXPECT_FALSE(budget.Begin("alice").ok()) << "a refused call costs nothing, an admitted one does";
  clock.Advance(absl::Hours(1));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.Begin("alice").ok()) << "and no more by waiting";
  EXPECT_FALSE(budget.Begin("alice").ok());
}

TEST(CallBudgetTest, OneCallersFloodCostsNobodyElse) {
  FakeClock clock;
  CallBudget budget(clock, kFew);
  while (budget.Begin("mallory").ok()) {
  }
  EXPECT_TRUE(budget.Enter("alice", CallLength::kShort).ok());
}

TEST(CallBudgetTest, CallsInWorkAreBoundedEachKindByItself) {
  FakeClock clock;
  CallBudget budget(
      clock, {.calls_per_second = 10, .burst = 100, .calls_at_once = 2, .long_calls_at_once = 1});
  std::vector<absl::StatusOr<Place>> places;
  places.push_back(budget.Enter("alice", CallLength::kLong));
  EXPECT_TRUE(places.back().ok());
  EXPECT_FALSE(budget.Enter("alice", CallLength::kLong).ok());
  for (int i = 0; i < 2; ++i) {
    places.push_back(budget.Enter("alice", CallLength::kShort));
    EXPECT_TRUE(places.back().ok());
  }
  EXPECT_FALSE(budget.Enter("alice", CallLength::kShort).ok());
  EXPECT_TRUE(budget.Enter("bob", CallLength::kShort).ok());
  places.pop_back();
  EXPECT_TRUE(budget.Enter("alice", CallLength::kShort).ok());
}

TEST(CallBudgetTest, WhoOwesIsRememberedHoweverManyCome) {
  FakeClock clock;
  CallBudget budget(clock, kFew);
  while (budget.Begin("mallory").ok()) {
  }
  for (int i = 0; i < 5000; ++i) {
    EXPECT_TRUE(budget.Begin("caller " + std::to_string(i)).ok());
  }
  clock.Advance(absl::Milliseconds(120));
  EXPECT_TRUE(budget.Begin("one more").ok());
  EXPECT_TRUE(budget.Begin("mallory").ok());
  EXPECT_FALSE(budget.Begin("mallory").ok()) << "one call by the time that passed, no more";
}

}  // namespace
}  // namespace kdbg::service
