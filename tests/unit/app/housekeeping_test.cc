#include "server/app/housekeeping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"

namespace kdbg::app {
namespace {

using ::testing::ElementsAre;

class ChoreScheduleTest : public ::testing::Test {
 protected:
  Chore Recorded(std::string name, absl::Duration period, absl::Status status = absl::OkStatus()) {
    return {.name = name, .period = period, .run = [this, name, status](std::stop_token) {
              ran_.push_back(name);
              return status;
            }};
  }
  std::vector<std::string> ran_;
};

TEST_F(ChoreScheduleTest, AChoreHasItsFirstTurnAfterOnePeriod) {
  ChoreSchedule schedule({Recorded("hourly", absl::Hours(1))}, absl::Hours(10));
  EXPECT_EQ(schedule.RunDue(absl::Hours(10), {}), absl::Hours(11));
  EXPECT_THAT(ran_, ElementsAre());
  EXPECT_EQ(schedule.RunDue(absl::Hours(11), {}), absl::Hours(12));
  EXPECT_THAT(ran_, ElementsAre("hourly"));
}

TEST_F(ChoreScheduleTest, TheNextTurnIsThatOfTheOneDueFirst) {
  ChoreSchedule schedule({Recorded("daily", absl::Hours(24)), Recorded("hourly", absl::Hours(1))},
                         absl::ZeroDuration());
  EXPECT_EQ(schedule.RunDue(absl::Hours(23), {}), absl::Hours(24));
  EXPECT_EQ(schedule.RunDue(absl::Hours(24), {}), absl::Hours(25));
  EXPECT_THAT(ran_, ElementsAre("hourly", "daily", "hourly"));
}

TEST_F(ChoreScheduleTest, AFailureDoesNotEndTheOthersNorItself) {
  ChoreSchedule schedule({Recorded("bad", absl::Hours(1), absl::InternalError("no")),
                          Recorded("good", absl::Hours(1))},
                         absl::ZeroDuration());
  schedule.RunDue(absl::Hours(1), {});
  schedule.RunDue(absl::Hours(2), {});
  EXPECT_THAT(ran_, ElementsAre("bad", "good", "bad", "good"));
}

TEST_F(ChoreScheduleTest, NothingIsBegunAfterAStop) {
  std::stop_source stop;
  stop.request_stop();
  ChoreSchedule schedule({Recorded("hourly", absl::Hours(1))}, absl::ZeroDuration());
  schedule.RunDue(absl::Hours(1), stop.get_token());
  EXPECT_THAT(ran_, ElementsAre());
}

TEST(HousekeepingTest, ItsEndStopsTheChoreThatRuns) {
  absl::Notification begun;
  absl::Notification told;
  {
    Housekeeping housekeeping(
        {{.name = "long", .period = absl::ZeroDuration(), .run = [&](std::stop_token stop) {
            if (begun.HasBeenNotified()) return absl::OkStatus();
            const std::stop_callback on_stop(stop, [&] { told.Notify(); });
            begun.Notify();
            told.WaitForNotification();
            return absl::CancelledError();
          }}});
    begun.WaitForNotification();
  }
  EXPECT_TRUE(told.HasBeenNotified());
}

}  // namespace
}  // namespace kdbg::app
