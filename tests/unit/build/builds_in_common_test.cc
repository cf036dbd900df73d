#include <gmock/gmock.h>

#include "server/build/trusted_builds.h"
#include "tests/unit/build/builds_fixture.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

class TrustedBuildsTest : public BuildsTest {
 protected:
  TrustedBuildsTest()
      : trusted_(*database_, *objects_, clock_),
        keeper_(*builds_, trusted_, *seeds_, *workspaces_, {}) {}

  BuildRecord BuildForAll(const std::string& source) {
    const auto trusted = trusted_.Trust(source);
    EXPECT_TRUE(trusted.ok()) << trusted.status();
    ExpectConfigure();
    ExpectCompile();
    EXPECT_TRUE(keeper_.KeepUp().ok());
    return Finish(builds_->List({.owner = std::string(source::kTrustedOwner)})->front());
  }
  static std::vector<std::string> Variables(const host::Sandbox& sandbox) {
    std::vector<std::string> found;
    for (const std::string& variable : sandbox.environment) {
      if (variable.starts_with("CCACHE_REMOTE")) found.push_back(variable);
    }
    return found;
  }

  source::TrustedSources trusted_;
  TrustedBuilds keeper_;
};

TEST_F(TrustedBuildsTest, AnswerAnybodyWithTheSameTree) {
  const std::string source = KernelSource();
  const BuildRecord made = BuildForAll(source);
  ASSERT_EQ(made.state, BuildState::kSucceeded) << LogOf(made);
  for (const bool is_private : {false, true}) {
    BuildRequest request = KernelRequestOf(source);
    request.is_private = is_private;
    const auto answered = builds_->Create("bob", request);
    ASSERT_TRUE(answered.ok());
    EXPECT_TRUE(answered->answered_from_store);
    EXPECT_EQ(answered->artifact_id, made.artifact_id);
  }
}

TEST_F(TrustedBuildsTest, AreMadeOnceAndAgainWhenTheirArtifactIsGone) {
  const BuildRecord made = BuildForAll(KernelSource());
  ASSERT_TRUE(keeper_.KeepUp().ok());
  EXPECT_EQ(builds_->List({})->size(), 1u);
  ASSERT_TRUE(artifacts_->Delete(made.artifact_id).ok());
  ASSERT_TRUE(keeper_.KeepUp().ok());
  EXPECT_EQ(builds_->List({})->size(), 2u);
}

TEST_F(TrustedBuildsTest, GoWithTheTrustInTheirSource) {
  const std::string source = KernelSource();
  const BuildRecord made = BuildForAll(source);
  const fs::path cached = workspaces_->trusted_ccache_dir() / "0/entry";
  Write(cached, "object");
  ASSERT_EQ(seeds_->List()->size(), 1u);
  ASSERT_TRUE(sources_->Delete(made.request.source_id).ok());
  ASSERT_TRUE(keeper_.KeepUp().ok());
  EXPECT_TRUE(seeds_->List()->empty());
  EXPECT_FALSE(fs::exists(cached));
  EXPECT_TRUE(fs::exists(workspaces_->trusted_ccache_dir()));
  ExpectConfigure();
  ExpectCompile();
  const BuildRecord own = Run(KernelRequestOf(source));
  EXPECT_FALSE(own.answered_from_store);
  EXPECT_THAT(LogOf(own), ::testing::Not(HasSubstr("starts from")));
}

TEST_F(TrustedBuildsTest, AloneWriteTheCacheThatAllRead) {
  const std::string source = KernelSource();
  BuildForAll(source);
  const host::Sandbox service = runner_.started().back();
  EXPECT_EQ(service.binds[3].inside, "/ccache-trusted");
  EXPECT_EQ(service.binds[3].access, host::Access::kWritable);
  EXPECT_THAT(Variables(service),
              ::testing::ElementsAre("CCACHE_REMOTE_STORAGE=file:/ccache-trusted|umask=022",
                                     "CCACHE_REMOTE_ONLY=1"));
  BuildRequest request = KernelRequestOf(source);
  std::get<KernelRequest>(request.spec).skip_cache = true;
  ExpectCompile();
  Run(request);
  const host::Sandbox own = runner_.started().back();
  EXPECT_EQ(own.binds[3].host, service.binds[3].host);
  EXPECT_EQ(own.binds[3].access, host::Access::kReadOnly);
  EXPECT_THAT(Variables(own),
              ::testing::ElementsAre("CCACHE_REMOTE_STORAGE=file:/ccache-trusted|read-only"));
}

TEST_F(TrustedBuildsTest, SeedNewWorkspacesOfOthers) {
  const std::string source = KernelSource();
  BuildForAll(source);
  BuildRequest request = KernelRequestOf(source);
  std::get<KernelRequest>(request.spec).skip_cache = true;
  ExpectCompile();  // and no config step
  const BuildRecord seeded = Run(request);
  ASSERT_EQ(seeded.state, BuildState::kSucceeded) << LogOf(seeded);
  EXPECT_THAT(LogOf(seeded), HasSubstr("starts from the objects of a trusted build"));
  EXPECT_EQ(runner_.started().size(), 3u);
  // What bob has already is not replaced.
  ExpectCompile();
  EXPECT_THAT(LogOf(Run(request)), ::testing::Not(HasSubstr("starts from")));
}

TEST_F(TrustedBuildsTest, NothingThatAnybodyElseMadeIsTheirs) {
  const std::string source = KernelSource();
  ExpectConfigure();
  ExpectCompile();
  ASSERT_EQ(Run(KernelRequestOf(source)).state, BuildState::kSucceeded);
  ASSERT_TRUE(trusted_.Trust(source).ok());
  ExpectConfigure();
  ExpectCompile();
  ASSERT_TRUE(keeper_.KeepUp().ok());
  const BuildRecord own = Finish(builds_->List({})->front());
  EXPECT_EQ(own.owner, source::kTrustedOwner);
  EXPECT_FALSE(own.answered_from_store);
}

class HeldCompile {
 public:
  std::function<void(const host::Sandbox&)> Effect() {
    return [state = state_](const host::Sandbox&) {
      state->started.Notify();
      state->go_on.WaitForNotification();
    };
  }
  void AwaitStart() { state_->started.WaitForNotification(); }
  void GoOn() { state_->go_on.Notify(); }

 private:
  struct State {
    absl::Notification started;
    absl::Notification go_on;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

TEST_F(BuildsTest, WhoAsksForWhatIsBeingMadeJoinsAndSeesTheOneLog) {
  const std::string source = KernelSource();
  HeldCompile held;
  runner_.Expect({.output = "the one log\n", .error = {}, .result = {}, .effect = held.Effect()});
  ExpectCompile();
  const auto first = builds_->Create("alice", KernelRequestOf(source));
  held.AwaitStart();
  const auto second = builds_->Create("alice", KernelRequestOf(source));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_NE(second->id, first->id);
  EXPECT_EQ(second->state, BuildState::kRunning);
  held.GoOn();
  EXPECT_EQ(Finish(*first).state, Finish(*second).state);
  EXPECT_EQ(runner_.started().size(), 1u);  // its config is not left by the fake: it ends there
  EXPECT_THAT(LogOf(*first), HasSubstr("the one log"));
  EXPECT_EQ(LogOf(*first), LogOf(*second));
  // Each is deleted by itself.
  ASSERT_TRUE(builds_->Delete(first->id).ok());
  EXPECT_THAT(LogOf(*second), HasSubstr("the one log"));
}

TEST_F(BuildsTest, ABuildStartsWhenItIsTakenUpNotWhenTheWorkerBeganToWait) {
  ExpectConfigure();
  ExpectCompile();
  const BuildRecord build = Run(KernelRequestOf(KernelSource()));
  ASSERT_EQ(build.state, BuildState::kSucceeded) << LogOf(build);
  EXPECT_GE(*build.start_time, build.create_time);
}

TEST_F(BuildsTest, BuildsThatJoinedGetOneArtifact) {
  const std::string source = KernelSource();
  HeldCompile held;
  runner_.Expect({.output = {}, .error = {}, .result = {}, .effect = held.Effect()});
  const auto other = builds_->Create("bob", KernelRequestOf(source));
  held.AwaitStart();  // the only worker is busy: both of alice's wait
  const auto first = builds_->Create("alice", KernelRequestOf(source));
  const auto second = builds_->Create("alice", KernelRequestOf(source));
  EXPECT_EQ(builds_->Get(second->id)->progress.queue_position, 1);
  ExpectConfigure();
  ExpectCompile();
  held.GoOn();
  const BuildRecord one = Finish(*first);
  const BuildRecord two = Finish(*second);
  ASSERT_EQ(one.state, BuildState::kSucceeded) << LogOf(one);
  EXPECT_EQ(two.state, BuildState::kSucceeded);
  EXPECT_EQ(one.artifact_id, two.artifact_id);
  EXPECT_EQ(LogOf(one), LogOf(two));
}

TEST_F(BuildsTest, CancellingOneOfTwoThatJoinedLeavesTheOther) {
  const std::string source = KernelSource();
  HeldCompile held;
  ExpectConfigure();
  runner_.Expect({.output = "  CC      init/main.o\n",
                  .error = "/src/init/main.c:1:1: error: expected ';'\n",
                  .result = Ended(2, host::EndCause::kExited),
                  .effect = held.Effect()});
  const auto first = builds_->Create("alice", KernelRequestOf(source));
  held.AwaitStart();
  const auto second = builds_->Create("alice", KernelRequestOf(source));
  EXPECT_EQ(builds_->Cancel(first->id)->state, BuildState::kCancelled);
  EXPECT_TRUE(builds_->ReadLog(first->id, 0, 1 << 20)->ended);
  ASSERT_TRUE(builds_->Delete(first->id).ok());
  // Who comes now joins what is left.
  const auto third = builds_->Create("alice", KernelRequestOf(source));
  EXPECT_EQ(third->state, BuildState::kRunning);
  held.GoOn();
  EXPECT_EQ(Finish(*second).failure->reason, Reason::kCompileError);
  EXPECT_EQ(Finish(*third).failure->reason, Reason::kCompileError);
  EXPECT_THAT(LogOf(*third), HasSubstr("init/main.o"));
}

TEST_F(BuildsTest, TheLastOneToCancelEndsTheWork) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectUntilCancelled(started);
  const auto first = builds_->Create("alice", KernelRequestOf(source));
  started.WaitForNotification();
  const auto second = builds_->Create("alice", KernelRequestOf(source));
  EXPECT_EQ(builds_->Cancel(second->id)->state, BuildState::kCancelled);
  EXPECT_EQ(builds_->Get(first->id)->state, BuildState::kRunning);
  EXPECT_EQ(builds_->Cancel(first->id)->state, BuildState::kCancelled);
}

TEST_F(BuildsTest, NobodyJoinsWhatHeMayNotHave) {
  const std::string source = KernelSource();
  HeldCompile held;
  runner_.Expect({.output = {}, .error = {}, .result = {}, .effect = held.Effect()});
  BuildRequest request = KernelRequestOf(source);
  const auto first = builds_->Create("alice", request);
  held.AwaitStart();
  EXPECT_EQ(builds_->Create("bob", request)->state, BuildState::kQueued);
  request.is_private = true;
  EXPECT_EQ(builds_->Create("alice", request)->state, BuildState::kQueued);
  request.is_private = false;
  std::get<KernelRequest>(request.spec).skip_cache = true;
  EXPECT_EQ(builds_->Create("alice", request)->state, BuildState::kQueued);
  held.GoOn();
}

TEST_F(BuildsTest, AfterARestartOneLogGoesOnForAllThatJoined) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectUntilCancelled(started, "before\n");
  const auto first = builds_->Create("alice", KernelRequestOf(source));
  started.WaitForNotification();
  const auto second = builds_->Create("alice", KernelRequestOf(source));
  builds_.reset();
  ExpectConfigure();
  ExpectCompile();
  OpenBuilds();
  EXPECT_EQ(Finish(*first).state, BuildState::kSucceeded);
  EXPECT_EQ(Finish(*second).artifact_id, Finish(*first).artifact_id);
  EXPECT_THAT(LogOf(*second), ::testing::StartsWith("before\n"));
  EXPECT_THAT(LogOf(*second), HasSubstr("CC      init/main.o"));
  EXPECT_EQ(LogOf(*first), LogOf(*second));
}

}  // namespace
}  // namespace kdbg::build
