// Guests made ahead: who gets them, and what becomes of them.

#include "server/session/warm_pool.h"

#include <algorithm>

#include "tests/unit/session/template_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::SizeIs;

class WarmPoolTest : public TemplateFixture {
 protected:
  WarmPoolTest() {
    limits_.warm_memory_mib = 40;  // two of these guests
    Open();
  }
  void MakeWarm() {
    MakeTemplate();
    EXPECT_EQ(Ready().origin, Origin::kCloned);
    ASSERT_TRUE(AwaitWarm(2));
  }
  bool AwaitWarm(std::size_t count) {
    return sessions_->warm_guests().Await(count, absl::Seconds(20));
  }
  bool IsMachine(const std::string& id) {
    const auto machines = hypervisor_.ListOwn();
    return machines.ok() && std::any_of(machines->begin(), machines->end(),
                                        [&](const auto& own) { return own.name == "kdbg-" + id; });
  }
};

TEST_F(WarmPoolTest, ASessionTakesOneThatIsReadyAndAnotherIsMade) {
  MakeWarm();
  const SessionRecord taken = Ready();
  EXPECT_EQ(taken.origin, Origin::kWarm);
  EXPECT_EQ(taken.stopped_at, "start_kernel");
  EXPECT_TRUE(IsMachine(taken.id));
  EXPECT_TRUE(sessions_->door(taken.id).ok());
  EXPECT_TRUE(AwaitWarm(2));
  ASSERT_TRUE(sessions_->Resume(taken.id).ok());
  ASSERT_TRUE(sessions_->Delete(taken.id).ok());
  AwaitState(taken.id, SessionState::kEnded);
  EXPECT_FALSE(IsMachine(taken.id));
}

TEST_F(WarmPoolTest, WhatHappensToOneThatWasTakenIsItsSessions) {
  MakeWarm();
  const SessionRecord taken = Ready();
  ASSERT_EQ(taken.origin, Origin::kWarm);
  hypervisor_.Panic("kdbg-" + taken.id);
  EXPECT_EQ(AwaitState(taken.id, SessionState::kCrashed).state, SessionState::kCrashed);
}

TEST_F(WarmPoolTest, WhileHeldThereAreNone) {
  MakeWarm();
  sessions_->SetHeld(true);
  EXPECT_TRUE(AwaitWarm(0));
  sessions_->SetHeld(false);
  EXPECT_TRUE(AwaitWarm(2));
}

TEST_F(WarmPoolTest, AnotherOwnerGetsNone) {
  MakeWarm();
  EXPECT_EQ(Ready("bob").origin, Origin::kCold);
}

TEST_F(WarmPoolTest, OneWhoseMachineWasKilledIsNotGiven) {
  MakeWarm();
  for (const auto& [name, stub] : stubs_) stub->Die();
  hypervisor_.on_destroy = nullptr;
  const SessionRecord session = Ready();
  EXPECT_EQ(session.state, SessionState::kReady);
  EXPECT_FALSE(StubOf(session.id)->ended());
}

TEST_F(WarmPoolTest, NoneIsLeftWhenTheDaemonGoes) {
  MakeWarm();
  ASSERT_THAT(*hypervisor_.ListOwn(), SizeIs(5));
  sessions_.reset();
  EXPECT_THAT(*hypervisor_.ListOwn(), SizeIs(3)) << "the sessions' own";
}

}  // namespace
}  // namespace kdbg::session
