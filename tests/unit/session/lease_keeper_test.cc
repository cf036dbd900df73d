#include "server/session/lease_keeper.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/fake_clock.h"

namespace kdbg::session {
namespace {

// What was told so far, and a way to wait for it.
class Told {
 public:
  void Add(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    ids_.push_back(id);
  }
  // The first `count` ids; fewer when they do not come within 10 s.
  std::vector<std::string> Await(std::size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ids_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
    return ids_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> ids_ ABSL_GUARDED_BY(mutex_);
};

class LeaseKeeperTest : public ::testing::Test {
 protected:
  void Advance(absl::Duration by) {
    clock_.Advance(by);
    keeper_.Wake();
  }
  FakeClock clock_;
  Told ending_;
  Told expired_;
  LeaseKeeper keeper_{clock_, [this](const std::string& id) { ending_.Add(id); },
                      [this](const std::string& id) { expired_.Add(id); }};
};

TEST_F(LeaseKeeperTest, LeasesEndInTheOrderOfTheirDeadlines) {
  keeper_.Set("late", absl::Minutes(20));
  keeper_.Set("early", absl::Minutes(10));
  Advance(absl::Minutes(10));
  EXPECT_EQ(expired_.Await(1), (std::vector<std::string>{"early"}));
  Advance(absl::Minutes(10));
  EXPECT_EQ(expired_.Await(2), (std::vector<std::string>{"early", "late"}));
}

TEST_F(LeaseKeeperTest, ARenewedLeaseEndsAtItsNewDeadlineOnly) {
  keeper_.Set("renewed", absl::Minutes(10));
  keeper_.Set("witness", absl::Minutes(10));
  keeper_.Set("renewed", absl::Minutes(30));
  Advance(absl::Minutes(10));
  EXPECT_EQ(expired_.Await(1), (std::vector<std::string>{"witness"}));
  Advance(absl::Minutes(20));
  EXPECT_EQ(expired_.Await(2), (std::vector<std::string>{"witness", "renewed"}));
}

TEST_F(LeaseKeeperTest, ARemovedLeaseNeverEnds) {
  keeper_.Set("removed", absl::Minutes(10));
  keeper_.Set("witness", absl::Minutes(20));
  keeper_.Remove("removed");
  Advance(absl::Hours(1));
  EXPECT_EQ(expired_.Await(1), (std::vector<std::string>{"witness"}));
}

TEST_F(LeaseKeeperTest, AWallClockSetTenYearsForwardEndsNothing) {
  keeper_.Set("lease", absl::Minutes(10));
  keeper_.Set("witness", absl::Minutes(5));
  clock_.SetWall(clock_.Now() + absl::Hours(24 * 3650));
  Advance(absl::Minutes(5));
  EXPECT_EQ(expired_.Await(1), (std::vector<std::string>{"witness"}));
}

TEST_F(LeaseKeeperTest, AnEndIsToldFiveMinutesBeforeAndOnceOnly) {
  keeper_.Set("lease", absl::Hours(1));
  keeper_.Set("witness", absl::Hours(2));
  Advance(absl::Minutes(55));
  EXPECT_EQ(ending_.Await(1), (std::vector<std::string>{"lease"}));
  Advance(absl::Minutes(1));
  Advance(absl::Minutes(4));
  EXPECT_EQ(expired_.Await(1), (std::vector<std::string>{"lease"}));
  Advance(absl::Minutes(55));
  EXPECT_EQ(ending_.Await(2), (std::vector<std::string>{"lease", "witness"}));
}

TEST_F(LeaseKeeperTest, AShortLeaseIsToldOfInItsLastQuarterAndARenewedOneAgain) {
  keeper_.Set("lease", absl::Minutes(8));
  Advance(absl::Minutes(6));
  EXPECT_EQ(ending_.Await(1).size(), 1u);
  keeper_.Set("lease", absl::Minutes(8));
  Advance(absl::Minutes(6));
  EXPECT_EQ(ending_.Await(2).size(), 2u);
}

}  // namespace
}  // namespace kdbg::session
