// What a session does when nobody is there: at a panic, and when its lease runs out.

#include "proto/contract/error.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class StandingOrdersTest : public SessionsTest {
 protected:
  void Panic(const std::string& id) { hypervisor_.Panic("kdbg-" + id); }
  // Boots until it says so on its console.
  std::string CreatePanicking() {
    hit_ = false;
    const auto created = Create();
    EXPECT_TRUE(created.ok());
    AwaitState(created->id, SessionState::kBooting);
    EXPECT_TRUE(StubOf(created->id)->WaitRunning(true));
    Panic(created->id);
    const UniqueFd console(
        ::open(hypervisor_.created()[0].console_log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    EXPECT_TRUE(WriteAll(console.get(), "Kernel panic - not syncing: early\r\n").ok());
    return created->id;
  }
  // Somebody else's request, by which the keeper of leases sees what the clock shows.
  void Advance(absl::Duration by) {
    clock_.Advance(by);
    EXPECT_TRUE(Create().ok());
  }
  void ExpectDump(const SessionRecord& record) {
    const auto dump = artifacts_->Get(record.last_dump);
    ASSERT_TRUE(dump.ok()) << record.last_dump << ": " << record.dump_failure;
    EXPECT_EQ(dump->kind, store::ArtifactKind::kDump);
    EXPECT_EQ(dump->owner, "alice");
    EXPECT_TRUE(dump->is_private);
  }
};

TEST_F(StandingOrdersTest, ByDefaultAPanicIsLeftAsItIs) {
  const std::string id = CreateReady();
  Panic(id);
  EXPECT_THAT(AwaitState(id, SessionState::kCrashed).last_dump, IsEmpty());
  EXPECT_THAT(hypervisor_.created(), SizeIs(1));
}

TEST_F(StandingOrdersTest, APanicIsDumpedForTheOwner) {
  request_.on_panic = OnPanic::kDump;
  const std::string id = CreateReady();
  Panic(id);
  const SessionRecord record =
      Await(id, [](const SessionRecord& now) { return !now.last_dump.empty(); });
  EXPECT_EQ(record.state, SessionState::kCrashed);
  ExpectDump(record);
  Open();  // another daemon knows it too
  EXPECT_EQ(sessions_->Get(id)->last_dump, record.last_dump);
}

TEST_F(StandingOrdersTest, APanicOnTheWayToTheStopPointIsDumpedAsWellAndOnce) {
  request_.on_panic = OnPanic::kDump;
  int dumps = 0;
  hypervisor_.on_dump = [&](std::string_view) { ++dumps; };
  const std::string id = CreatePanicking();
  ExpectDump(Await(id, [](const SessionRecord& now) { return !now.last_dump.empty(); }));
  ASSERT_TRUE(sessions_->Delete(id).ok());
  AwaitState(id, SessionState::kEnded);
  EXPECT_EQ(dumps, 1);
}

TEST_F(StandingOrdersTest, ADumpThatFailsSaysWhy) {
  request_.on_panic = OnPanic::kDump;
  const std::string id = CreateReady();
  hypervisor_.on_dump = [&](std::string_view) {
    hypervisor_.FailWith(MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                                   "libvirt is away"));
  };
  Panic(id);
  const SessionRecord record =
      Await(id, [](const SessionRecord& now) { return !now.dump_failure.empty(); });
  hypervisor_.FailWith(absl::OkStatus());
  EXPECT_THAT(record.dump_failure, HasSubstr("libvirt is away"));
  EXPECT_THAT(record.last_dump, IsEmpty());
}

TEST_F(StandingOrdersTest, AResetBringsAPanickedGuestBackByItself) {
  request_.on_panic = OnPanic::kReset;
  const std::string id = CreateReady();
  Panic(id);
  Await(id, [&](const SessionRecord& now) {
    return hypervisor_.created().size() == 2 && now.state == SessionState::kReady;
  });
  EXPECT_EQ(sessions_->Get(id)->state, SessionState::kReady);
  EXPECT_THAT(hypervisor_.created(), SizeIs(2));
}

TEST_F(StandingOrdersTest, OneThatPanicsBeforeItIsReadyIsNotResetForEver) {
  request_.on_panic = OnPanic::kReset;
  const std::string id = CreatePanicking();
  EXPECT_EQ(AwaitState(id, SessionState::kCrashed).state, SessionState::kCrashed);
  EXPECT_THAT(hypervisor_.created(), SizeIs(1));
}

TEST_F(StandingOrdersTest, AnExpiryIsDumpedBeforeTheEnd) {
  request_.on_expiry = OnExpiry::kDump;
  request_.ttl = absl::Minutes(10);
  const std::string id = CreateReady();
  Advance(absl::Minutes(10));
  const SessionRecord ended = AwaitState(id, SessionState::kEnded);
  EXPECT_EQ(ended.end_reason, "EXPIRED");
  ExpectDump(ended);
}

TEST_F(StandingOrdersTest, ALeaseThatHasRunOutIsNotRenewedWhileItIsDumped) {
  request_.on_expiry = OnExpiry::kDump;
  request_.ttl = absl::Minutes(10);
  const std::string id = CreateReady();
  absl::Status renewed;
  hypervisor_.on_dump = [&](std::string_view) {
    renewed = sessions_->Renew(id, std::nullopt).status();
  };
  Advance(absl::Minutes(10));
  AwaitState(id, SessionState::kEnded);
  EXPECT_TRUE(HasReason(renewed, Reason::kWrongState)) << renewed;
  EXPECT_THAT(std::string(renewed.message()), HasSubstr("its lease has run out"));
}

TEST_F(StandingOrdersTest, AnEndThatIsAskedForIsNotDumped) {
  request_.on_expiry = OnExpiry::kDump;
  const std::string id = CreateReady();
  ASSERT_TRUE(sessions_->Delete(id).ok());
  EXPECT_THAT(AwaitState(id, SessionState::kEnded).last_dump, IsEmpty());
}

TEST_F(StandingOrdersTest, ALeaseNearItsEndSaysSoUntilItIsRenewed) {
  request_.ttl = absl::Hours(1);
  const std::string id = CreateReady();
  EXPECT_FALSE(sessions_->Get(id)->expires_soon);
  Advance(absl::Minutes(56));
  EXPECT_TRUE(Await(id, [](const SessionRecord& now) { return now.expires_soon; }).expires_soon);
  ASSERT_TRUE(sessions_->Renew(id, std::nullopt).ok());
  EXPECT_FALSE(sessions_->Get(id)->expires_soon);
}

TEST_F(StandingOrdersTest, WhoUsesASessionKeepsItUpToItsHardMaximum) {
  request_.ttl = absl::Hours(2);
  limits_.maximum_ttl = absl::Hours(3);
  Open();
  const std::string id = CreateReady();
  const std::shared_ptr<const void> use = sessions_->Use(id);
  const absl::Time first_end = sessions_->Get(id)->expire_time;
  Advance(absl::Hours(2));
  const SessionRecord renewed =
      Await(id, [&](const SessionRecord& now) { return now.expire_time > first_end; });
  EXPECT_EQ(renewed.expire_time - renewed.create_time, absl::Hours(3));
  EXPECT_FALSE(renewed.expires_soon);
  Advance(absl::Minutes(56));
  EXPECT_TRUE(Await(id, [](const SessionRecord& now) { return now.expires_soon; }).expires_soon);
  Advance(absl::Minutes(4));
  EXPECT_EQ(AwaitState(id, SessionState::kEnded).end_reason, "EXPIRED");
}

}  // namespace
}  // namespace kdbg::session
