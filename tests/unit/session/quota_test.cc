#include "server/session/quota.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/contract/error.h"
#include "server/session/waiting_line.h"

namespace kdbg::session {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const absl::Time kNoon = absl::FromUnixSeconds(12 * 3600);

Holding Held(std::string session, std::string owner, Amount amount = {1, 1, 256}) {
  return {.session = std::move(session),
          .owner = std::move(owner),
          .amount = amount,
          .expire_time = kNoon};
}

TEST(QuotaTest, WithoutLimitsThereIsAlwaysRoom) {
  const std::vector<Holding> held(1000, Held("vm-1", "alice"));
  EXPECT_FALSE(FindShortage({}, held, "alice", {1, 64, 1 << 20}).has_value());
}

TEST(QuotaTest, EachKindHasItsOwnLimit) {
  const std::vector<Holding> held = {Held("vm-1", "alice", {1, 3, 1000})};
  const Quota quota = {.user = {2, 4, 2000}, .host = {}};
  EXPECT_FALSE(FindShortage(quota, held, "alice", {1, 1, 1000}).has_value());
  EXPECT_EQ(FindShortage(quota, held, "alice", {2, 1, 10})->what, "sessions");
  EXPECT_EQ(FindShortage(quota, held, "alice", {1, 2, 10})->what, "virtual CPUs");
  EXPECT_EQ(FindShortage(quota, held, "alice", {1, 1, 1001})->what, "MiB of memory");
  EXPECT_FALSE(FindShortage(quota, held, "bob", {1, 4, 2000}).has_value());
}

TEST(QuotaTest, TheErrorNamesHoldersAndTheirExpiries) {
  const std::vector<Holding> held = {Held("vm-a", "alice"), Held("vm-b", "bob")};
  const Quota quota = {.user = {}, .host = {.sessions = 2}};
  const auto shortage = FindShortage(quota, held, "carol", {1, 1, 256});
  ASSERT_TRUE(shortage.has_value());
  const absl::Status status = ShortageError(*shortage, held, "carol");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(HasReason(status, Reason::kQuotaExceeded));
  EXPECT_THAT(std::string(status.message()), HasSubstr("vm-b (bob, until 12:00 UTC)"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--queue"));
}

TEST(QuotaTest, OfAUsersOwnLimitOnlyTheirSessionsAreNamed) {
  const std::vector<Holding> held = {Held("vm-a", "alice"), Held("vm-b", "bob")};
  const auto shortage =
      FindShortage({.user = {.sessions = 1}, .host = {}}, held, "alice", {1, 1, 256});
  const std::string message(ShortageError(*shortage, held, "alice").message());
  EXPECT_THAT(message, HasSubstr("vm-a"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("vm-b")));
}

class WaitingLineTest : public ::testing::Test {
 protected:
  void Wait(std::string id, std::string owner, Amount wanted = {1, 1, 256}) {
    line_.Add({.id = std::move(id), .owner = std::move(owner), .wanted = wanted});
  }
  WaitingLine line_;
};

TEST_F(WaitingLineTest, WhoHoldsLeastGoesFirstThenWhoWaitedLongest) {
  Wait("a1", "alice");
  Wait("b1", "bob");
  Wait("c1", "carol");
  EXPECT_THAT(line_.Order(std::vector{Held("vm-1", "alice")}), ElementsAre("b1", "c1", "a1"));
}

TEST_F(WaitingLineTest, ManyRequestsOfOneTakeTurnsWithAnothers) {
  Wait("a1", "alice");
  Wait("a2", "alice");
  Wait("a3", "alice");
  Wait("b1", "bob");
  EXPECT_THAT(line_.Order({}), ElementsAre("a1", "b1", "a2", "a3"));
}

TEST_F(WaitingLineTest, AUserAtTheirOwnLimitIsPassedOver) {
  Wait("a1", "alice");
  Wait("b1", "bob");
  const std::vector<Holding> held = {Held("vm-1", "alice"), Held("vm-2", "bob"),
                                     Held("vm-3", "bob")};
  EXPECT_EQ(line_.Next({.user = {.sessions = 1}, .host = {}}, held), std::nullopt);
  EXPECT_EQ(line_.Next({.user = {.sessions = 3}, .host = {}}, held), "a1");
  EXPECT_EQ(line_.Next({.user = {.sessions = 1}, .host = {}}, std::vector{Held("v", "alice")}),
            "b1");
}

TEST_F(WaitingLineTest, ALargeRequestIsNotStarvedBySmallOnesBehindIt) {
  Wait("big", "alice", {1, 1, 4096});
  Wait("small", "bob", {1, 1, 16});
  const Quota quota = {.user = {}, .host = {.memory_mib = 4096}};
  EXPECT_EQ(line_.Next(quota, std::vector{Held("vm-1", "carol", {1, 1, 512})}), std::nullopt);
  EXPECT_EQ(line_.Next(quota, {}), "big");
}

TEST_F(WaitingLineTest, WhoLeavesIsForgotten) {
  Wait("a1", "alice");
  Wait("b1", "bob");
  line_.Remove("a1");
  EXPECT_THAT(line_.Order({}), ElementsAre("b1"));
}

}  // namespace
}  // namespace kdbg::session
