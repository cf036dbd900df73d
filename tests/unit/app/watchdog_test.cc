#include "server/app/watchdog.h"

#include <gtest/gtest.h>

#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kdbg::app {
namespace {

class WatchdogTest : public ::testing::Test {
 protected:
  static Watchdog::Part Lively() {
    return {.name = "lively", .ask = [](const std::function<void()>& answered) { answered(); }};
  }
  // Answers when the test says so.
  Watchdog::Part Slow() {
    return {.name = "slow", .ask = [this](std::function<void()> answered) {
              absl::MutexLock lock(&mutex_);
              asked_ = std::move(answered);
            }};
  }
  void Open(std::vector<Watchdog::Part> parts, absl::Duration period) {
    watchdog_.emplace(period, std::move(parts), [this] {
      absl::MutexLock lock(&mutex_);
      ++alive_;
    });
  }
  void AwaitAlive(int count) {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return alive_ >= count; };
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20)));
  }
  std::function<void()> AwaitAsked() {
    absl::MutexLock lock(&mutex_);
    const auto there = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return asked_ != nullptr; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20)));
    return std::exchange(asked_, nullptr);
  }
  int alive() {
    absl::MutexLock lock(&mutex_);
    return alive_;
  }

  absl::Mutex mutex_;
  int alive_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void()> asked_ ABSL_GUARDED_BY(mutex_);
  std::optional<Watchdog> watchdog_;
};

TEST_F(WatchdogTest, IsFedAgainAndAgainWhileAllAnswer) {
  Open({Lively()}, absl::Milliseconds(1));
  AwaitAlive(3);
}

TEST_F(WatchdogTest, IsNotFedWhileOneStandsStill) {
  Open({Lively(), Slow()}, absl::Milliseconds(1));
  for (int round = 0; round < 3; ++round) {
    const auto answer = AwaitAsked();
    EXPECT_EQ(alive(), round);
    answer();
    AwaitAlive(round + 1);
  }
}

TEST_F(WatchdogTest, EndsWithoutAnAnswerWhichMayComeLater) {
  Open({Slow()}, absl::Hours(1));
  const auto answer = AwaitAsked();
  watchdog_.reset();
  answer();
  EXPECT_EQ(alive(), 0);
}

}  // namespace
}  // namespace kdbg::app
