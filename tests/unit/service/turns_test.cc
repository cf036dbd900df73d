#include "server/service/turns.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "server/service/executor.h"

namespace kdbg::service {
namespace {

TEST(ExecutorTest, RefusesCallsBeyondItsQueueAndRunsTheRest) {
  absl::Notification started;
  absl::Notification go_on;
  std::atomic<int> ran = 0;
  {
    Executor executor(1, 2);
    EXPECT_TRUE(executor.TryRun([&] {
      started.Notify();
      go_on.WaitForNotification();
      ++ran;
    }));
    started.WaitForNotification();
    EXPECT_TRUE(executor.TryRun([&] { ++ran; }));
    EXPECT_TRUE(executor.TryRun([&] { ++ran; }));
    EXPECT_FALSE(executor.TryRun([&] { ran += 100; }));
    executor.Run([&] { ++ran; });  // streams are not refused
    go_on.Notify();
  }
  EXPECT_EQ(ran, 4);
}

TEST(TurnsTest, NeverTwoAtOnceAndNoWakeIsLost) {
  Executor executor(4, 16);
  std::atomic<int> inside = 0;
  std::atomic<int> wanted = 0;
  std::atomic<int> seen = 0;
  absl::Notification all_seen;
  constexpr int kThreads = 4;
  constexpr int kWakes = 1000;
  auto turns = std::make_shared<Turns>(executor, [&] {
    EXPECT_EQ(inside.fetch_add(1), 0);
    seen = wanted.load();
    EXPECT_EQ(inside.fetch_sub(1), 1);
    if (seen < kThreads * kWakes) return Turns::After::kGoOn;
    all_seen.Notify();
    return Turns::After::kOver;
  });
  std::vector<std::thread> wakers;
  for (int i = 0; i < kThreads; ++i) {
    wakers.emplace_back([&, wake = turns->Waker()] {
      for (int j = 0; j < kWakes; ++j) {
        ++wanted;
        wake();
      }
    });
  }
  for (auto& waker : wakers) waker.join();
  all_seen.WaitForNotification();
}

TEST(TurnsTest, AfterTheLastTurnWakesDoNothing) {
  Executor executor(1, 16);
  std::atomic<int> turns_run = 0;
  absl::Notification over;
  auto turns = std::make_shared<Turns>(executor, [&] {
    ++turns_run;
    over.Notify();
    return Turns::After::kOver;
  });
  const auto wake = turns->Waker();
  turns->Wake();
  over.WaitForNotification();
  absl::Notification settled;
  executor.Run([&] { settled.Notify(); });
  settled.WaitForNotification();
  wake();
  turns->Stop(Turns::StopCause::kCancelled);
  turns.reset();
  wake();
  absl::Notification done;
  executor.Run([&] { done.Notify(); });
  done.WaitForNotification();
  EXPECT_EQ(turns_run, 1);
}

TEST(TurnsTest, TheFirstCauseToStopStays) {
  Executor executor(1, 16);
  auto turns = std::make_shared<Turns>(executor, [] { return Turns::After::kGoOn; });
  turns->Stop(Turns::StopCause::kDraining);
  turns->Stop(Turns::StopCause::kCancelled);
  EXPECT_EQ(turns->stop_cause(), Turns::StopCause::kDraining);
}

}  // namespace
}  // namespace kdbg::service
