// What a dump leaves behind, and what it does to the guest.

#include "proto/contract/error.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class DumpTest : public SessionsTest {
 protected:
  std::string Content(const store::Artifact& artifact, std::string_view path) {
    const store::ArtifactFile* file = artifact.FindFile(path);
    if (file == nullptr) return "no such file";
    return ReadFile(blobs_->PathOf(file->digest)).value_or("no such blob");
  }
  std::vector<std::string> GuestFiles(const std::string& id) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root_ / "guests" / id)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
};

TEST_F(DumpTest, IsAPrivateArtifactOfTheCallersWithTheSymbolsForIt) {
  const std::string id = CreateReady();
  const auto dump = sessions_->Dump(id, "bob", vm::DumpFormat::kElf);
  ASSERT_TRUE(dump.ok()) << dump.status();
  EXPECT_EQ(dump->kind, store::ArtifactKind::kDump);
  EXPECT_EQ(dump->owner, "bob");
  EXPECT_TRUE(dump->is_private);
  EXPECT_EQ(dump->gnu_build_id, "abcd");
  EXPECT_THAT(Content(*dump, "vmcore"), ::testing::EndsWith("elf memory of kdbg-" + id));
  EXPECT_EQ(Content(*dump, "vmlinux"), "symbols");
  EXPECT_THAT(GuestFiles(id), Not(Contains(HasSubstr("dump"))));
}

TEST_F(DumpTest, AHaltedGuestStaysHaltedAndARunningOneRunsOn) {
  const std::string id = CreateReady();
  const std::shared_ptr<FakeStub> stub = StubOf(id);
  bool ran = true;
  hypervisor_.on_dump = [&](std::string_view) { ran = stub->running(); };
  ASSERT_TRUE(sessions_->Dump(id, "alice", vm::DumpFormat::kElf).ok());
  EXPECT_FALSE(ran);
  EXPECT_EQ(sessions_->Get(id)->run_state, RunState::kHalted);
  stub->HitOnContinue(false);
  ASSERT_TRUE(sessions_->Resume(id).ok());
  ASSERT_TRUE(stub->WaitRunning(true));
  const auto dump = sessions_->Dump(id, "alice", vm::DumpFormat::kKdumpZlib);
  ASSERT_TRUE(dump.ok()) << dump.status();
  EXPECT_THAT(Content(*dump, "vmcore"), HasSubstr("kdump memory"));
  EXPECT_FALSE(ran);
  EXPECT_TRUE(stub->WaitRunning(true));
  EXPECT_EQ(sessions_->Get(id)->run_state, RunState::kRunning);
}

TEST_F(DumpTest, NobodyLetsTheGuestGoOnMeanwhile) {
  const std::string id = CreateReady();
  std::vector<absl::StatusCode> codes;
  hypervisor_.on_dump = [&](std::string_view) {
    codes = {sessions_->Resume(id).status().code(), sessions_->Reset(id).status().code(),
             sessions_->Dump(id, "alice", vm::DumpFormat::kElf).status().code()};
  };
  ASSERT_TRUE(sessions_->Dump(id, "alice", vm::DumpFormat::kElf).ok());
  EXPECT_THAT(codes, ::testing::ElementsAre(absl::StatusCode::kFailedPrecondition,
                                            absl::StatusCode::kFailedPrecondition,
                                            absl::StatusCode::kFailedPrecondition));
  EXPECT_TRUE(sessions_->Resume(id).ok());
}

TEST_F(DumpTest, OneThatFailsLetsTheGuestGoOnAndLeavesNothing) {
  const std::string id = CreateReady();
  const std::shared_ptr<FakeStub> stub = StubOf(id);
  stub->HitOnContinue(false);
  ASSERT_TRUE(sessions_->Resume(id).ok());
  ASSERT_TRUE(stub->WaitRunning(true));
  hypervisor_.FailWith(
      MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable, "libvirt is away"));
  EXPECT_EQ(sessions_->Dump(id, "alice", vm::DumpFormat::kElf).status().code(),
            absl::StatusCode::kUnavailable);
  hypervisor_.FailWith(absl::OkStatus());
  EXPECT_TRUE(stub->WaitRunning(true));
  EXPECT_THAT(GuestFiles(id), Not(Contains(HasSubstr("dump"))));
}

TEST_F(DumpTest, APanickedGuestCanBeDumpedAndAnEndedOneCannot) {
  const std::string id = CreateReady();
  hypervisor_.Panic("kdbg-" + id);
  AwaitState(id, SessionState::kCrashed);
  EXPECT_TRUE(sessions_->Dump(id, "alice", vm::DumpFormat::kElf).ok());
  ASSERT_TRUE(sessions_->Delete(id).ok());
  AwaitState(id, SessionState::kEnded);
  EXPECT_TRUE(
      HasReason(sessions_->Dump(id, "alice", vm::DumpFormat::kElf).status(), Reason::kWrongState));
}

}  // namespace
}  // namespace kdbg::session
