#include "server/build/active_builds.h"

#include <gtest/gtest.h>

#include <thread>

namespace kdbg::build {
namespace {

using Priority = ActiveBuilds::Priority;

BuildRecord Build(const std::string& id, const std::string& owner) {
  BuildRecord build;
  build.id = id;
  build.owner = owner;
  build.workspace = id;
  build.key = id;
  return build;
}

class ActiveBuildsTest : public ::testing::Test {
 protected:
  std::string Next() { return active_.Next(absl::UnixEpoch())->work; }
  ActiveBuilds active_{64};
};

TEST_F(ActiveBuildsTest, WhatRunsInTheBackgroundMakesRoomAndIsQueuedAgain) {
  active_.Add(Build("trusted", "service"), Priority::kBackground);
  const auto background = active_.Next(absl::UnixEpoch());
  EXPECT_FALSE(background->stop.stop_requested());
  active_.Add(Build("1", "alice"), Priority::kNormal);
  EXPECT_TRUE(background->stop.stop_requested());
  ASSERT_TRUE(active_.Requeue("trusted"));
  EXPECT_EQ(active_.Find("trusted")->state, BuildState::kQueued);
  EXPECT_EQ(Next(), "1");
  const auto again = active_.Next(absl::UnixEpoch());
  EXPECT_EQ(again->work, "trusted");
  EXPECT_FALSE(again->stop.stop_requested());
}

TEST_F(ActiveBuildsTest, WhereSomebodyHasTimeNothingIsStopped) {
  active_.Add(Build("trusted", "service"), Priority::kBackground);
  const auto background = active_.Next(absl::UnixEpoch());
  std::string taken;
  std::thread idle([&] { taken = Next(); });
  while (true) {  // until it waits: nothing else tells
    if (active_.waiting_threads() == 1) break;
    std::this_thread::yield();
  }
  active_.Add(Build("1", "alice"), Priority::kNormal);
  idle.join();
  EXPECT_EQ(taken, "1");
  EXPECT_FALSE(background->stop.stop_requested());
}

TEST_F(ActiveBuildsTest, PeoplesBuildsDoNotMakeRoomForEachOther) {
  active_.Add(Build("1", "alice"), Priority::kNormal);
  const auto running = active_.Next(absl::UnixEpoch());
  active_.Add(Build("2", "bob"), Priority::kNormal);
  EXPECT_FALSE(running->stop.stop_requested());
  EXPECT_FALSE(active_.Requeue("1"));
}

TEST_F(ActiveBuildsTest, EveryUrgentBuildGetsRoomOfItsOwn) {
  active_.Add(Build("t1", "service"), Priority::kBackground);
  active_.Add(Build("t2", "service"), Priority::kBackground);
  const auto first = active_.Next(absl::UnixEpoch());
  const auto second = active_.Next(absl::UnixEpoch());
  active_.Add(Build("1", "alice"), Priority::kNormal);
  EXPECT_NE(first->stop.stop_requested(), second->stop.stop_requested());
  BuildRecord same_workspace = Build("2", "alice");
  same_workspace.workspace = "1";  // waits for the first anyway
  active_.Add(same_workspace, Priority::kNormal);
  EXPECT_NE(first->stop.stop_requested(), second->stop.stop_requested());
  active_.Add(Build("3", "bob"), Priority::kNormal);
  EXPECT_TRUE(first->stop.stop_requested() && second->stop.stop_requested());
}

TEST_F(ActiveBuildsTest, WhatTheServiceHasWaitingTakesNobodysPlace) {
  ActiveBuilds active(1);
  active.Add(Build("t", "service"), Priority::kBackground);
  EXPECT_TRUE(active.CheckRoom(Priority::kNormal).ok());
  EXPECT_FALSE(active.CheckRoom(Priority::kBackground).ok());
  EXPECT_EQ(active.Add(Build("1", "alice"), Priority::kNormal), 1);
  EXPECT_FALSE(active.CheckRoom(Priority::kNormal).ok());
}

TEST_F(ActiveBuildsTest, CancellingWhatMakesRoomEndsIt) {
  active_.Add(Build("trusted", "service"), Priority::kBackground);
  Next();
  active_.Add(Build("1", "alice"), Priority::kNormal);
  BuildRecord left;
  EXPECT_EQ(active_.Leave("trusted", &left), ActiveBuilds::Leaving::kStopped);
  EXPECT_FALSE(active_.Requeue("trusted"));
  EXPECT_TRUE(active_.WasCancelled("trusted"));
}

TEST_F(ActiveBuildsTest, WhileHeldEverythingIsQueuedAndNothingIsStarted) {
  active_.Add(Build("1", "alice"), Priority::kNormal);
  active_.Add(Build("2", "bob"), Priority::kNormal);
  const auto running = active_.Next(absl::UnixEpoch());
  active_.SetHeld(true);
  EXPECT_TRUE(running->stop.stop_requested());
  ASSERT_TRUE(active_.Requeue("1"));
  EXPECT_EQ(active_.Find("1")->state, BuildState::kQueued);
  std::string taken;
  std::thread idle([&] { taken = Next(); });
  while (active_.waiting_threads() == 0) std::this_thread::yield();
  EXPECT_EQ(active_.Find("2")->state, BuildState::kQueued);
  active_.SetHeld(false);
  idle.join();
  EXPECT_EQ(taken, "2");
  EXPECT_EQ(Next(), "1");
}

TEST_F(ActiveBuildsTest, ABuildThatIsCancelledWhileHeldEnds) {
  active_.Add(Build("1", "alice"), Priority::kNormal);
  ASSERT_EQ(Next(), "1");
  active_.SetHeld(true);
  BuildRecord left;
  EXPECT_EQ(active_.Leave("1", &left), ActiveBuilds::Leaving::kStopped);
  EXPECT_FALSE(active_.Requeue("1"));
}

}  // namespace
}  // namespace kdbg::build
