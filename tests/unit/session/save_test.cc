// Saved states, and the sessions that go on from them.

#include "proto/contract/error.h"
#include "server/session/saved_session.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class SaveTest : public SessionsTest {
 protected:
  store::Artifact Save(const std::string& id) {
    const auto saved = sessions_->Save(id, "alice");
    EXPECT_TRUE(saved.ok()) << saved.status();
    return saved.value_or(store::Artifact());
  }
  absl::StatusOr<SessionRecord> Restore(const store::Artifact& saved) {
    return sessions_->Restore("alice",
                              {.artifact = saved.id, .ttl = std::nullopt, .request_id = ""});
  }
};

TEST_F(SaveTest, IsAPrivateArtifactAndTheGuestIsAsItWas) {
  const std::string id = CreateReady();
  const store::Artifact saved = Save(id);
  EXPECT_EQ(saved.kind, store::ArtifactKind::kSavedState);
  EXPECT_TRUE(saved.is_private);
  EXPECT_EQ(sessions_->Get(id)->run_state, RunState::kHalted);
  EXPECT_NE(saved.FindFile(kStateFile), nullptr);
  EXPECT_NE(saved.FindFile(kConsoleFile), nullptr);
  for (const auto& entry : std::filesystem::directory_iterator(root_ / "guests" / id)) {
    EXPECT_THAT(entry.path().filename().string(), ::testing::Not(HasSubstr("save")));
  }
}

TEST_F(SaveTest, SeveralSessionsGoOnFromOneStateWhichTheyPin) {
  request_.memory_mib = 64;
  request_.kernel_arguments = "quiet";
  const store::Artifact saved = Save(CreateReady());
  for (int i = 0; i < 2; ++i) {
    const auto restored = Restore(saved);
    ASSERT_TRUE(restored.ok()) << restored.status();
    const SessionRecord ready = AwaitState(restored->id, SessionState::kReady);
    EXPECT_EQ(ready.origin, Origin::kRestored);
    EXPECT_EQ(ready.stopped_at, "start_kernel");
    EXPECT_EQ(ready.run_state, RunState::kHalted);
    EXPECT_EQ(ready.request.memory_mib, 64);
    EXPECT_THAT(ready.command_line, HasSubstr("quiet"));
    EXPECT_TRUE(sessions_->door(ready.id).ok());
    EXPECT_THAT(artifacts_->Get(saved.id)->pins, Contains(HasSubstr(ready.id)));
  }
  EXPECT_THAT(hypervisor_.loaded(), SizeIs(2));
  EXPECT_EQ(hypervisor_.created().back().beginning, vm::Beginning::kLoadedState);
}

TEST_F(SaveTest, AStateKeepsTheKernelItNeedsUntilItGoes) {
  const std::string id = CreateReady();
  const store::Artifact saved = Save(id);
  ASSERT_TRUE(sessions_->Delete(id).ok());
  AwaitState(id, SessionState::kEnded);
  EXPECT_THAT(PinsOfKernel(), ::testing::ElementsAre("artifact " + saved.id));
  EXPECT_TRUE(HasReason(artifacts_->Delete(request_.kernel_artifact), Reason::kHolderBusy));
  ASSERT_TRUE(artifacts_->Delete(saved.id).ok());
  EXPECT_THAT(PinsOfKernel(), ::testing::IsEmpty());
}

TEST_F(SaveTest, WithoutRoomForTheCopyTheGuestRunsOnAndNothingIsSaved) {
  copy_floor_bytes_ = std::int64_t{1} << 60;
  Open();
  const std::string id = CreateReady();
  StubOf(id)->HitOnContinue(false);
  ASSERT_TRUE(sessions_->Resume(id).ok());
  const auto refused = sessions_->Save(id, "alice");
  EXPECT_TRUE(HasReason(refused.status(), Reason::kDiskFull)) << refused.status();
  EXPECT_EQ(sessions_->Get(id)->run_state, RunState::kRunning);
  EXPECT_THAT(PinsOfKernel(), ::testing::ElementsAre("session " + id));
}

TEST_F(SaveTest, ResetBringsARestoredSessionBackToTheState) {
  const auto restored = Restore(Save(CreateReady()));
  AwaitState(restored->id, SessionState::kReady);
  ASSERT_TRUE(sessions_->Resume(restored->id).ok());
  ASSERT_TRUE(sessions_->Reset(restored->id).ok());
  EXPECT_EQ(AwaitState(restored->id, SessionState::kReady).origin, Origin::kRestored);
  EXPECT_THAT(hypervisor_.loaded(), SizeIs(2));
}

TEST_F(SaveTest, ARestoredSessionIsOneAfterARestartToo) {
  const auto restored = Restore(Save(CreateReady()));
  AwaitState(restored->id, SessionState::kReady);
  Open();
  ASSERT_EQ(AwaitState(restored->id, SessionState::kReady).state, SessionState::kReady);
  ASSERT_TRUE(sessions_->Reset(restored->id).ok());
  EXPECT_EQ(AwaitState(restored->id, SessionState::kReady).origin, Origin::kRestored);
}

TEST_F(SaveTest, AStateOfAnotherEmulatorIsRefusedBeforeAnyMachineIsMade) {
  const store::Artifact saved = Save(CreateReady());
  hypervisor_.SetEmulatorVersion("8.0");
  const std::size_t machines = hypervisor_.created().size();
  const auto restored = Restore(saved);
  EXPECT_TRUE(HasReason(restored.status(), Reason::kHypervisorRefused)) << restored.status();
  EXPECT_THAT(std::string(restored.status().message()), HasSubstr("8.0"));
  EXPECT_EQ(hypervisor_.created().size(), machines);
}

TEST_F(SaveTest, WhatIsNoSavedStateIsRefused) {
  store::Artifact kernel;
  kernel.id = request_.kernel_artifact;
  EXPECT_EQ(Restore(kernel).status().code(), absl::StatusCode::kInvalidArgument);
  kernel.kind = store::ArtifactKind::kSavedState;
  EXPECT_TRUE(HasReason(RequestToRestore(kernel).status(), Reason::kDataCorrupt));
  kernel.id = "a-none";
  EXPECT_EQ(Restore(kernel).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace kdbg::session
