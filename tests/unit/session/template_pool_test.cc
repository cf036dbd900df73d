// Which sessions are clones, and what becomes of the templates they come from.

#include "server/session/template_pool.h"

#include "proto/contract/error.h"
#include "tests/unit/session/template_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

using TemplatePoolTest = TemplateFixture;

TEST_F(TemplatePoolTest, WhatWasAskedForTwiceIsClonedFromThenOn) {
  MakeTemplate();
  const SessionRecord third = Ready();
  EXPECT_EQ(third.origin, Origin::kCloned);
  EXPECT_EQ(third.stopped_at, "start_kernel");
  EXPECT_EQ(third.run_state, RunState::kHalted);
  EXPECT_TRUE(sessions_->door(third.id).ok());
  EXPECT_EQ(hypervisor_.created().back().beginning, vm::Beginning::kLoadedState);
  EXPECT_EQ(Ready().origin, Origin::kCloned);
}

TEST_F(TemplatePoolTest, AnotherGuestAndAnotherOwnersAreNotClonesOfIt) {
  MakeTemplate();
  EXPECT_EQ(Ready("bob").origin, Origin::kCold);
  request_.memory_mib = 17;
  EXPECT_EQ(Ready().origin, Origin::kCold);
  request_.stop = NoStop{};
  EXPECT_EQ(Ready().origin, Origin::kCold);
}

TEST_F(TemplatePoolTest, AGuestLargerThanTheBudgetCostsNobodyTheirTemplate) {
  limits_.template_memory_mib = 40;
  Open();
  MakeTemplate();
  request_.memory_mib = 48;
  EXPECT_EQ(Ready().origin, Origin::kCold);
  EXPECT_EQ(Ready().origin, Origin::kCold);
  request_.memory_mib = 16;  // what the pool does next
  Ready("bob");
  Ready("bob");
  EXPECT_TRUE(AwaitTemplates(2));
}

TEST_F(TemplatePoolTest, NoneIsMadeWhileItsOwnersSessionStarts) {
  Ready();
  hit_ = false;  // never comes to its stop point
  request_.memory_mib = 17;
  const auto slow = Create();
  AwaitState(slow->id, SessionState::kBooting);
  hit_ = true;
  request_.memory_mib = 16;
  Ready();
  const std::size_t machines = hypervisor_.created().size();
  EXPECT_EQ(Ready("bob").state, SessionState::kReady);  // the pool has had time to begin
  EXPECT_EQ(hypervisor_.created().size(), machines + 1);
  EXPECT_THAT(sessions_->templates().Keys(), IsEmpty());
  ASSERT_TRUE(sessions_->Delete(slow->id).ok());
  EXPECT_TRUE(AwaitTemplates(1));
}

TEST_F(TemplatePoolTest, WhileHeldNoneIsMade) {
  sessions_->SetHeld(true);
  Ready();
  Ready();
  Ready("bob");  // the pool has had time to begin
  EXPECT_EQ(hypervisor_.created().size(), 3u);
  EXPECT_THAT(sessions_->templates().Keys(), IsEmpty());
  sessions_->SetHeld(false);
  EXPECT_TRUE(AwaitTemplates(1));
}

TEST_F(TemplatePoolTest, OneThatIsDamagedGoesAndTheSessionBootsCold) {
  MakeTemplate();
  ASSERT_THAT(Folders(), SizeIs(1));
  ASSERT_TRUE(WriteFileAtomic(Folders()[0] / "state", "something else").ok());
  const SessionRecord cold = Ready();
  EXPECT_EQ(cold.state, SessionState::kReady);
  EXPECT_EQ(cold.origin, Origin::kCold);
  EXPECT_THAT(Folders(), IsEmpty());
}

TEST_F(TemplatePoolTest, OneThatNoEmulatorTakesAnyMoreIsMadeOnceMoreAndThenNoLonger) {
  MakeTemplate();
  const auto refuse = [this](const vm::DomainSpec& domain) {
    return domain.beginning == vm::Beginning::kLoadedState
               ? MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused, "no")
               : absl::OkStatus();
  };
  hypervisor_.on_create = [make = hypervisor_.on_create, refuse](const vm::DomainSpec& domain) {
    const absl::Status refused = refuse(domain);
    return refused.ok() ? make(domain) : refused;
  };
  EXPECT_EQ(Ready().origin, Origin::kCold);
  EXPECT_EQ(Ready().origin, Origin::kCold);
  ASSERT_TRUE(AwaitTemplates(1));
  EXPECT_EQ(Ready().origin, Origin::kCold);
  const std::size_t machines = hypervisor_.created().size();
  EXPECT_EQ(Ready().origin, Origin::kCold);
  EXPECT_EQ(Ready().origin, Origin::kCold);
  EXPECT_EQ(hypervisor_.created().size(), machines + 2);
  EXPECT_THAT(Folders(), IsEmpty());
}

TEST_F(TemplatePoolTest, SurvivesTheDaemonAndSoDoItsClones) {
  MakeTemplate();
  const SessionRecord clone = Ready();
  Open();
  const SessionRecord adopted = AwaitState(clone.id, SessionState::kReady);
  EXPECT_EQ(adopted.origin, Origin::kCloned);
  EXPECT_EQ(adopted.template_key, clone.template_key);
  ASSERT_TRUE(AwaitTemplates(1));
  EXPECT_EQ(Ready().origin, Origin::kCloned);
}

TEST_F(TemplatePoolTest, WhatADaemonLeftHalfMadeGoes) {
  sessions_.reset();
  std::filesystem::create_directories(Templates() / "t-half");
  ASSERT_TRUE(WriteFileAtomic(Templates() / "t-half" / "state", "half").ok());
  Open();
  MakeTemplate();
  EXPECT_FALSE(std::filesystem::exists(Templates() / "t-half"));
}

TEST_F(TemplatePoolTest, TheLeastRecentlyUsedGoesForRoomUnlessACloneLives) {
  limits_.template_memory_mib = 20;  // the second of these leaves no room for the first
  Open();
  MakeTemplate();
  const SessionRecord clone = Ready();
  ASSERT_EQ(clone.origin, Origin::kCloned);
  const std::vector<std::string> first = sessions_->templates().Keys();
  request_.memory_mib = 20;
  Ready();
  Ready();
  EXPECT_EQ(sessions_->templates().Keys(), first);
  ASSERT_TRUE(sessions_->Delete(clone.id).ok());
  AwaitState(clone.id, SessionState::kEnded);
  Ready();
  Ready();
  EXPECT_TRUE(AwaitOther(first));
  EXPECT_EQ(Ready().origin, Origin::kCloned);
  EXPECT_THAT(Folders(), SizeIs(1));
}

}  // namespace
}  // namespace kdbg::session
