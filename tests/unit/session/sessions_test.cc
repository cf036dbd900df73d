// A session's life, with machines that exist only as records.

#include "server/session/sessions.h"

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::HasSubstr;

TEST_F(SessionsTest, ASessionBecomesReadyHaltedAtItsStopPoint) {
  const auto created = Create();
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->state, SessionState::kCreating);
  EXPECT_GT(created->gdb_port, 0);
  const SessionRecord ready = AwaitState(created->id, SessionState::kReady);
  ASSERT_EQ(ready.state, SessionState::kReady);
  EXPECT_EQ(ready.stopped_at, "start_kernel");
  EXPECT_EQ(ready.run_state, RunState::kHalted);
  EXPECT_TRUE(StubOf(created->id)->breakpoints().empty());
  EXPECT_THAT(PinsOfKernel(), ::testing::Contains(HasSubstr(created->id)));
}

TEST_F(SessionsTest, DeleteFreesThePortTheMachineAndThePin) {
  const std::string id = CreateReady();
  const int port = sessions_->Get(id)->gdb_port;
  ASSERT_TRUE(sessions_->Delete(id).ok());
  EXPECT_TRUE(gdb::ReservedPort::Bind("127.0.0.1", port).ok());
  const SessionRecord ended = AwaitState(id, SessionState::kEnded);
  EXPECT_EQ(ended.end_reason, "DELETED");
  EXPECT_TRUE(hypervisor_.ListOwn()->empty());
  EXPECT_FALSE(std::filesystem::exists(root_ / "guests" / id));
  EXPECT_TRUE(PinsOfKernel().empty());
  EXPECT_TRUE(sessions_->Delete(id).ok()) << "twice is once";
  EXPECT_EQ(sessions_->active(), 0);
}

TEST_F(SessionsTest, ALeaseThatRunsOutEndsTheSession) {
  request_.ttl = absl::Milliseconds(1);
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  clock_.Advance(absl::Seconds(1));
  request_.ttl.reset();
  const auto witness = Create();  // wakes the keeper
  EXPECT_EQ(AwaitState(created->id, SessionState::kEnded).end_reason, "EXPIRED");
  EXPECT_FALSE(IsFinal(sessions_->Get(witness->id)->state));
}

TEST_F(SessionsTest, RenewMovesTheExpiryWithinTheHardMaximum) {
  const std::string id = CreateReady();
  const auto renewed = sessions_->Renew(id, absl::Hours(10));
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_EQ(renewed->expire_time, clock_.Now() + absl::Hours(10));
  EXPECT_EQ(sessions_->Renew(id, absl::Hours(49)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionsTest, ARepeatedRequestIsAnsweredWithTheFirstSession) {
  request_.request_id = "once";
  const auto first = Create();
  const auto second = Create();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->id, second->id);
  EXPECT_EQ(sessions_->active(), 1);
}

TEST_F(SessionsTest, AFullRangeOfPortsIsSaidAndLeavesNothing) {
  limits_.quota.host.sessions = 1;
  Open();
  CreateReady();
  const auto refused = Create();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(hypervisor_.created().size(), 1u);
}

TEST_F(SessionsTest, AHypervisorThatFailsIsTheHostsFaultAndLeavesNothing) {
  hypervisor_.FailWith(
      MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable, "libvirt is away"));
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  const SessionRecord failed = AwaitState(created->id, SessionState::kFailed);
  ASSERT_TRUE(failed.failure.has_value());
  EXPECT_EQ(failed.failure->fault, Fault::kHost);
  EXPECT_EQ(failed.failure->reason, "HYPERVISOR_UNAVAILABLE");
  EXPECT_TRUE(PinsOfKernel().empty());
}

TEST_F(SessionsTest, AGuestThatPanicsStaysAsCrashedAndCanBeDebugged) {
  const std::string id = CreateReady();
  hypervisor_.Panic("kdbg-" + id);
  const SessionRecord crashed = AwaitState(id, SessionState::kCrashed);
  ASSERT_TRUE(crashed.failure.has_value());
  EXPECT_EQ(crashed.failure->reason, "GUEST_PANICKED");
  EXPECT_TRUE(sessions_->door(id).ok());
}

TEST_F(SessionsTest, AGuestThatPowersOffEndsItsSession) {
  const std::string id = CreateReady();
  hypervisor_.PowerOff("kdbg-" + id);
  EXPECT_EQ(AwaitState(id, SessionState::kEnded).end_reason, "GUEST_EXITED");
}

TEST_F(SessionsTest, DeletingWhileItBootsEndsTheBoot) {
  hit_ = false;  // never comes to its stop point
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  AwaitState(created->id, SessionState::kBooting);
  ASSERT_TRUE(sessions_->Delete(created->id).ok());
  EXPECT_EQ(AwaitState(created->id, SessionState::kEnded).end_reason, "DELETED");
  EXPECT_TRUE(hypervisor_.ListOwn()->empty());
}

TEST_F(SessionsTest, PauseAndResumeGoThroughTheStub) {
  const std::string id = CreateReady();
  const auto resumed = sessions_->Resume(id);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->run_state, RunState::kRunning);
  const auto paused = sessions_->Pause(id);
  ASSERT_TRUE(paused.ok()) << paused.status();
  EXPECT_EQ(paused->run_state, RunState::kHalted);
}

TEST_F(SessionsTest, ResetBootsAnewWithTheSamePortAndGoesOnWithTheConsole) {
  const std::string id = CreateReady();
  const int port = sessions_->Get(id)->gdb_port;
  const std::shared_ptr<FakeStub> before = StubOf(id);
  ASSERT_TRUE(sessions_->Resume(id).ok());
  absl::Notification asked_again;
  hypervisor_.on_create = [&, create = hypervisor_.on_create](const vm::DomainSpec& domain) {
    asked_again.WaitForNotification();
    return create(domain);
  };
  const auto reset = sessions_->Reset(id);
  ASSERT_TRUE(reset.ok()) << reset.status();
  EXPECT_EQ(reset->state, SessionState::kBooting);
  EXPECT_EQ(sessions_->Reset(id).status().code(), absl::StatusCode::kFailedPrecondition);
  asked_again.Notify();
  const SessionRecord ready = AwaitState(id, SessionState::kReady);
  EXPECT_EQ(ready.stopped_at, "start_kernel");
  EXPECT_EQ(ready.run_state, RunState::kHalted);
  EXPECT_EQ(ready.gdb_port, port);
  EXPECT_NE(StubOf(id), before);
  EXPECT_TRUE(sessions_->door(id).ok());
  EXPECT_EQ(hypervisor_.created().size(), 2u);
  EXPECT_EQ(hypervisor_.created()[0].console_log, hypervisor_.created()[1].console_log);
}

TEST_F(SessionsTest, ResetBringsACrashedGuestBack) {
  const std::string id = CreateReady();
  hypervisor_.Panic("kdbg-" + id);
  AwaitState(id, SessionState::kCrashed);
  ASSERT_TRUE(sessions_->Reset(id).ok());
  EXPECT_FALSE(AwaitState(id, SessionState::kReady).failure.has_value());
}

TEST_F(SessionsTest, TheEndOfTheMachineBeforeAResetIsNotTheSessions) {
  const std::string id = CreateReady();
  // As libvirt does it: news of the end come when the next machine is there.
  const auto make = hypervisor_.on_create;
  hypervisor_.on_create = [&, make](const vm::DomainSpec& domain) {
    const absl::Status made = make(domain);
    hypervisor_.TellStopped(domain.name);
    return made;
  };
  ASSERT_TRUE(sessions_->Reset(id).ok());
  AwaitState(id, SessionState::kReady);
  hypervisor_.TellStopped("kdbg-" + id);
  ASSERT_TRUE(sessions_->Resume(id).ok());
  EXPECT_EQ(sessions_->Get(id)->state, SessionState::kReady);
  ASSERT_TRUE(sessions_->Delete(id).ok());
  EXPECT_EQ(AwaitState(id, SessionState::kEnded).end_reason, "DELETED");
}

TEST_F(SessionsTest, AResetThatCannotBootFailsTheSession) {
  const std::string id = CreateReady();
  hypervisor_.FailWith(
      MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable, "libvirt is away"));
  ASSERT_TRUE(sessions_->Reset(id).ok());
  EXPECT_EQ(AwaitState(id, SessionState::kFailed).failure->reason, "HYPERVISOR_UNAVAILABLE");
}

TEST_F(SessionsTest, AnEndedSessionIsListedOnlyOnRequest) {
  const std::string id = CreateReady();
  ASSERT_TRUE(sessions_->Delete(id).ok());
  AwaitState(id, SessionState::kEnded);
  EXPECT_TRUE(sessions_->List({}).empty());
  EXPECT_EQ(sessions_->List({.owner = {}, .include_ended = true}).size(), 1u);
}

class QuotaOfSessionsTest : public SessionsTest {
 protected:
  QuotaOfSessionsTest() {
    limits_.quota.user.sessions = 1;
    Open();
  }
  SessionRecord CreateOrWait(std::string_view owner = "alice") {
    const auto record = sessions_->Create(owner, request_, Sessions::IfFull::kWait);
    EXPECT_TRUE(record.ok()) << record.status();
    return record.ok() ? *record : SessionRecord();
  }
};

TEST_F(QuotaOfSessionsTest, OverQuotaIsRefusedNamingTheHolderAndLeavesNothing) {
  const std::string holder = CreateReady();
  const auto refused = Create();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(holder));
  EXPECT_EQ(sessions_->List({}).size(), 1u);
  EXPECT_TRUE(sessions_->Create("bob", request_).ok()) << "another user's quota is another one";
}

TEST_F(QuotaOfSessionsTest, WhoWaitsStartsWhenThereIsRoom) {
  const std::string holder = CreateReady();
  const SessionRecord second = CreateOrWait();
  const SessionRecord third = CreateOrWait();
  EXPECT_EQ(second.state, SessionState::kQueued);
  EXPECT_EQ(second.queue_place, 1);
  EXPECT_EQ(third.queue_place, 2);
  EXPECT_EQ(sessions_->door(second.id).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(sessions_->Delete(holder).ok());
  EXPECT_EQ(AwaitState(second.id, SessionState::kReady).state, SessionState::kReady);
  EXPECT_EQ(Await(third.id, [](const auto& now) { return now.queue_place == 1; }).state,
            SessionState::kQueued);
}

TEST_F(QuotaOfSessionsTest, WhileHeldNobodyWhoWaitsIsStarted) {
  const std::string holder = CreateReady();
  const auto others = sessions_->Create("bob", request_);
  ASSERT_TRUE(others.ok()) << others.status();
  const SessionRecord waiting = CreateOrWait();
  sessions_->SetHeld(true);
  ASSERT_TRUE(sessions_->Delete(holder).ok());
  AwaitState(holder, SessionState::kEnded);
  // What comes of that end has come once another's has, too.
  ASSERT_TRUE(sessions_->Delete(others->id).ok());
  AwaitState(others->id, SessionState::kEnded);
  EXPECT_EQ(sessions_->Get(waiting.id)->state, SessionState::kQueued);
  sessions_->SetHeld(false);
  EXPECT_EQ(AwaitState(waiting.id, SessionState::kReady).state, SessionState::kReady);
}

TEST_F(QuotaOfSessionsTest, WhoLeavesTheQueueHoldsNothing) {
  CreateReady();
  const SessionRecord waiting = CreateOrWait();
  ASSERT_TRUE(sessions_->Delete(waiting.id).ok());
  EXPECT_EQ(sessions_->Get(waiting.id)->state, SessionState::kEnded);
  EXPECT_EQ(sessions_->Get(waiting.id)->end_reason, "DELETED");
  EXPECT_EQ(hypervisor_.created().size(), 1u);
  EXPECT_THAT(PinsOfKernel(), ::testing::SizeIs(1));
}

TEST_F(QuotaOfSessionsTest, TheQueueIsThereAfterARestart) {
  const std::string holder = CreateReady();
  const SessionRecord waiting = CreateOrWait();
  Open();
  EXPECT_EQ(sessions_->Get(waiting.id)->state, SessionState::kQueued);
  EXPECT_EQ(sessions_->Get(waiting.id)->queue_place, 1);
  ASSERT_TRUE(sessions_->Delete(holder).ok());
  EXPECT_EQ(AwaitState(waiting.id, SessionState::kReady).state, SessionState::kReady);
}

TEST_F(QuotaOfSessionsTest, WhatCouldNeverBeGrantedIsRefusedAtOnce) {
  limits_.quota.user.memory_mib = 128;
  Open();
  request_.memory_mib = 129;
  const auto refused = sessions_->Create("alice", request_, Sessions::IfFull::kWait);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionsTest, AShareIsListedForTheColleagueAndSurvivesARestart) {
  const std::string id = CreateReady();
  using Access = SessionShare::Access;
  EXPECT_TRUE(sessions_->List({.owner = "bob"}).empty());
  ASSERT_TRUE(sessions_->Share(id, {.user = "bob", .access = Access::kRead}).ok());
  ASSERT_TRUE(sessions_->Share(id, {.user = "bob", .access = Access::kControl}).ok());
  Open();
  ASSERT_EQ(sessions_->List({.owner = "bob"}).size(), 1u);
  ASSERT_EQ(sessions_->Get(id)->shares.size(), 1u);
  EXPECT_EQ(sessions_->Get(id)->shares[0].access, Access::kControl);
  ASSERT_TRUE(sessions_->Share(id, {.user = "bob", .access = Access::kNone}).ok());
  EXPECT_TRUE(sessions_->List({.owner = "bob"}).empty());
}

// What the next daemon finds; Open stands for its start.
class RestartTest : public SessionsTest {
 protected:
  static auto IsDebuggable(const SessionRecord& record) {
    return record.run_state != RunState::kUnknown;
  }
};

TEST_F(RestartTest, AHaltedGuestIsAdoptedHaltedWithItsPortAndItsLease) {
  const std::string id = CreateReady();
  const SessionRecord before = *sessions_->Get(id);
  const auto stub = StubOf(id);
  Open();
  const SessionRecord after = Await(id, IsDebuggable);
  EXPECT_EQ(after.state, SessionState::kReady);
  EXPECT_EQ(after.run_state, RunState::kHalted);
  EXPECT_FALSE(stub->running());
  EXPECT_EQ(after.gdb_port, before.gdb_port);
  EXPECT_EQ(after.expire_time, before.expire_time);
  EXPECT_EQ(after.stopped_at, "start_kernel");
  EXPECT_TRUE(sessions_->door(id).ok());
  EXPECT_EQ(hypervisor_.created().size(), 1u);
  EXPECT_THAT(PinsOfKernel(), ::testing::Contains(HasSubstr(id)));
}

TEST_F(RestartTest, AnAdoptedGuestCanBeReset) {
  const std::string id = CreateReady();
  Open();
  ASSERT_TRUE(sessions_->Reset(id).ok());
  EXPECT_EQ(AwaitState(id, SessionState::kReady).stopped_at, "start_kernel");
  ASSERT_EQ(hypervisor_.created().size(), 2u);
  EXPECT_EQ(hypervisor_.created()[1].kernel, hypervisor_.created()[0].kernel);
  EXPECT_EQ(hypervisor_.created()[1].command_line, hypervisor_.created()[0].command_line);
}

TEST_F(RestartTest, AResetThatWasCutOffIsDone) {
  const std::string id = CreateReady();
  hit_ = false;  // does not come to its stop point
  ASSERT_TRUE(sessions_->Reset(id).ok());
  sessions_.reset();
  hit_ = true;
  Open();
  const SessionRecord ready = AwaitState(id, SessionState::kReady);
  EXPECT_EQ(ready.state, SessionState::kReady);
  EXPECT_EQ(ready.run_state, RunState::kHalted);
}

TEST_F(RestartTest, ARunningGuestRunsOn) {
  const std::string id = CreateReady();
  ASSERT_TRUE(sessions_->Resume(id).ok());
  ASSERT_TRUE(hypervisor_.Resume("kdbg-" + id).ok());
  Open();
  EXPECT_EQ(Await(id, IsDebuggable).run_state, RunState::kRunning);
  EXPECT_TRUE(StubOf(id)->WaitRunning(true));
}

TEST_F(RestartTest, AGuestThatPanickedMeanwhileIsCrashedAndCanBeDebugged) {
  const std::string id = CreateReady();
  sessions_.reset();
  hypervisor_.Panic("kdbg-" + id);
  Open();
  EXPECT_EQ(AwaitState(id, SessionState::kCrashed).state, SessionState::kCrashed);
  EXPECT_TRUE(sessions_->door(id).ok());
}

TEST_F(RestartTest, ASessionThatWasBootingBootsAgain) {
  hit_ = false;  // never comes to its stop point
  const auto created = Create();
  ASSERT_TRUE(created.ok());
  AwaitState(created->id, SessionState::kBooting);
  hit_ = true;
  Open();
  const SessionRecord ready = AwaitState(created->id, SessionState::kReady);
  EXPECT_EQ(ready.state, SessionState::kReady);
  EXPECT_EQ(ready.gdb_port, created->gdb_port);
  EXPECT_EQ(hypervisor_.created().size(), 2u);
  EXPECT_EQ(hypervisor_.ListOwn()->size(), 1u);
}

TEST_F(RestartTest, ASessionWhoseMachineIsGoneEndsWithTheReason) {
  const std::string id = CreateReady();
  sessions_.reset();
  hypervisor_.PowerOff("kdbg-" + id);
  Open();
  EXPECT_EQ(AwaitState(id, SessionState::kEnded).end_reason, "VM_LOST");
  EXPECT_TRUE(PinsOfKernel().empty());
  EXPECT_FALSE(std::filesystem::exists(root_ / "guests" / id));
}

TEST_F(RestartTest, AnEndThatWasCutOffIsFinished) {
  const std::string id = CreateReady();
  SessionRecord record = *sessions_->Get(id);
  sessions_.reset();
  record.state = SessionState::kEnding;
  record.end_reason = "EXPIRED";
  ASSERT_TRUE(database_
                  ->Write([&](state::Transaction& transaction) {
                    return UpdateSession(transaction, record);
                  })
                  .ok());
  Open();
  EXPECT_EQ(AwaitState(id, SessionState::kEnded).end_reason, "EXPIRED");
  EXPECT_TRUE(hypervisor_.ListOwn()->empty());
  EXPECT_TRUE(PinsOfKernel().empty());
}

TEST_F(RestartTest, APortThatWasTakenMeanwhileIsReplacedAndStored) {
  const std::string id = CreateReady();
  const int before = sessions_->Get(id)->gdb_port;
  sessions_.reset();
  const auto thief = gdb::ReservedPort::Bind("127.0.0.1", before);
  ASSERT_TRUE(thief.ok()) << thief.status();
  Open();
  const int after = Await(id, IsDebuggable).gdb_port;
  EXPECT_NE(after, before);
  Open();
  EXPECT_EQ(Await(id, IsDebuggable).gdb_port, after);
}

TEST_F(RestartTest, ALeaseRunsOnWhileNoDaemonIsThereWhateverTheWallClockSays) {
  request_.ttl = absl::Hours(1);
  const std::string ends = CreateReady();
  request_.ttl = absl::Hours(3);
  const std::string stays = CreateReady();
  sessions_.reset();
  clock_.Advance(absl::Hours(2));
  clock_.SetWall(clock_.Now() + absl::Hours(1000));
  Open();
  EXPECT_EQ(AwaitState(ends, SessionState::kEnded).end_reason, "EXPIRED");
  EXPECT_EQ(Await(stays, IsDebuggable).state, SessionState::kReady);
}

TEST_F(RestartTest, AMachineAndADirectoryOfNoSessionAreRemoved) {
  const std::string id = CreateReady();
  sessions_.reset();
  vm::DomainSpec stray;
  stray.name = "kdbg-vm-stray";
  const std::filesystem::path directory = root_ / "guests" / "vm-stray";
  std::filesystem::create_directories(directory);
  stray.console_log = directory / "console.log";
  stray.gdb_socket = directory / "gdb.sock";
  ASSERT_TRUE(hypervisor_.CreatePaused(stray).ok());
  Open();
  EXPECT_EQ(hypervisor_.ListOwn()->size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(directory));
  EXPECT_EQ(Await(id, IsDebuggable).state, SessionState::kReady);
}

}  // namespace
}  // namespace kdbg::session
