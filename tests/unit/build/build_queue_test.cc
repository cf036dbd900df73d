#include "server/build/build_queue.h"

#include <gtest/gtest.h>

namespace kdbg::build {
namespace {

TEST(BuildQueueTest, OldestFirst) {
  BuildQueue queue;
  queue.Add({"1", "alice", "a"});
  queue.Add({"2", "alice", "b"});
  EXPECT_EQ(queue.Position("2"), 2);
  EXPECT_EQ(queue.Start()->id, "1");
  EXPECT_EQ(queue.Position("2"), 1);
  EXPECT_EQ(queue.Position("1"), 0);
}

TEST(BuildQueueTest, TwoBuildsOfOneWorkspaceWaitForEachOther) {
  BuildQueue queue;
  queue.Add({"1", "alice", "a"});
  queue.Add({"2", "alice", "a"});
  const auto first = queue.Start();
  EXPECT_FALSE(queue.CanStart());
  EXPECT_FALSE(queue.Start().has_value());
  queue.Finish(*first);
  EXPECT_EQ(queue.Start()->id, "2");
}

TEST(BuildQueueTest, TheSameNameOfAnotherOwnerIsAnotherWorkspace) {
  BuildQueue queue;
  queue.Add({"1", "alice", "a"});
  queue.Add({"2", "bob", "a"});
  EXPECT_EQ(queue.Start()->id, "1");
  EXPECT_EQ(queue.Start()->id, "2");
}

TEST(BuildQueueTest, WhoHasLessRunningGoesFirst) {
  BuildQueue queue;
  for (const char* id : {"1", "2", "3"}) queue.Add({id, "alice", id});
  queue.Add({"4", "bob", "x"});
  EXPECT_EQ(queue.Start()->id, "1");
  EXPECT_EQ(queue.Start()->id, "4");
  EXPECT_EQ(queue.Start()->id, "2");
}

TEST(BuildQueueTest, PlacesAreThoseOfTheOrderItWillBe) {
  BuildQueue queue;
  queue.Add({"0", "service", "t", true});
  for (const char* id : {"1", "2"}) queue.Add({id, "alice", id});
  queue.Add({"3", "bob", "x"});
  EXPECT_EQ(queue.Position("1"), 1);
  EXPECT_EQ(queue.Position("3"), 2);
  EXPECT_EQ(queue.Position("2"), 3);
  EXPECT_EQ(queue.Position("0"), 4);
}

TEST(BuildQueueTest, WhoWasServedLongestAgoGoesFirst) {
  BuildQueue queue;
  for (const char* id : {"1", "2", "3"}) queue.Add({id, "alice", id});
  const auto first = queue.Start();
  queue.Add({"4", "bob", "x"});
  queue.Finish(*first);
  EXPECT_EQ(queue.Start()->id, "4");
}

TEST(BuildQueueTest, TheServiceItselfWaitsForEverybody) {
  BuildQueue queue;
  queue.Add({"1", "service", "a", true});
  queue.Add({"2", "alice", "a"});
  queue.Add({"3", "alice", "b"});
  EXPECT_EQ(queue.Start()->id, "2");
  EXPECT_EQ(queue.Start()->id, "3");
  EXPECT_EQ(queue.Start()->id, "1");
}

TEST(BuildQueueTest, WhatWasRemovedNeverStarts) {
  BuildQueue queue;
  queue.Add({"1", "alice", "a"});
  EXPECT_TRUE(queue.Remove("1"));
  EXPECT_FALSE(queue.Remove("1"));
  EXPECT_FALSE(queue.CanStart());
}

}  // namespace
}  // namespace kdbg::build
