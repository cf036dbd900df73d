#include <gmock/gmock.h>

#include "tests/unit/build/builds_fixture.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

TEST_F(BuildsTest, AKernelBecomesAnArtifactWithEverythingGdbNeeds) {
  ExpectConfigure();
  ExpectCompile();
  const BuildRecord build = Run(KernelRequestOf(KernelSource()));
  ASSERT_EQ(build.state, BuildState::kSucceeded) << LogOf(build);
  EXPECT_EQ(build.progress.steps_done, 3);
  EXPECT_EQ(build.progress.cache_hits, 1);
  EXPECT_EQ(build.progress.cache_misses, 1);
  const auto artifact = artifacts_->Get(build.artifact_id);
  ASSERT_TRUE(artifact.ok());
  EXPECT_EQ(artifact->version, "6.1.7");
  EXPECT_EQ(artifact->gnu_build_id.size(), 40u);
  for (const char* path :
       {"bzImage", "vmlinux", "System.map", "config", "build.log", "vmlinux-gdb.py",
        "scripts/gdb/linux/tasks.py", "scripts/gdb/linux/constants.py", "compile_commands.json",
        "metadata.json"}) {
    EXPECT_NE(artifact->FindFile(path), nullptr) << path;
  }
  EXPECT_THAT(LogOf(build), HasSubstr("CC      init/main.o"));
}

TEST_F(BuildsTest, TheGdbIndexComesAfterTheArtifact) {
  absl::Notification asked;
  routing_runner_.for_gdb.Expect(
      {.output = {}, .error = {}, .result = {}, .effect = [&](const host::Sandbox& sandbox) {
         Write(host::FakeSandboxRunner::HostPath(sandbox, "/build/vmlinux.gdb-index"), "index");
         asked.Notify();
       }});
  ExpectConfigure();
  ExpectCompile();
  const BuildRecord build = Run(KernelRequestOf(KernelSource()));
  asked.WaitForNotification();
  // Ends what it is at, so what was begun is done or will be done by the next one.
  builds_.reset();
  OpenBuilds();
  builds_.reset();
  const auto started = routing_runner_.for_gdb.started();
  ASSERT_GE(started.size(), 1u);
  EXPECT_EQ(started[0].limits.nice, 19);
  EXPECT_EQ(started[0].binds[0].access, host::Access::kReadOnly);
}

TEST_F(BuildsTest, TheSandboxSeesConstantPathsAndASourceItCannotWrite) {
  ExpectConfigure();
  ExpectCompile();
  Run(KernelRequestOf(KernelSource()));
  ASSERT_GE(runner_.started().size(), 2u);
  const host::Sandbox sandbox = runner_.started()[1];
  ASSERT_EQ(sandbox.binds.size(), 4u);
  EXPECT_EQ(sandbox.binds[0].inside, "/src");
  EXPECT_EQ(sandbox.binds[0].access, host::Access::kReadOnly);
  EXPECT_GT(sandbox.limits.memory_bytes, 0);
  EXPECT_GT(sandbox.limits.processes, 0);
  EXPECT_THAT(sandbox.environment, ::testing::Contains("CCACHE_DEPEND=1"));
  EXPECT_THAT(sandbox.argv, ::testing::Contains("O=/build"));
}

TEST_F(BuildsTest, TheSameRequestAgainIsAnsweredFromTheStore) {
  ExpectConfigure();
  ExpectCompile();
  const BuildRequest request = KernelRequestOf(KernelSource());
  const BuildRecord first = Run(request);
  const auto second = builds_->Create("alice", request);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->state, BuildState::kSucceeded);
  EXPECT_TRUE(second->answered_from_store);
  EXPECT_EQ(second->artifact_id, first.artifact_id);
  // Another owner's artifact is no answer.
  ExpectConfigure();
  ExpectCompile();
  const auto other = builds_->Create("bob", request);
  ASSERT_TRUE(other.ok());
  EXPECT_FALSE(Finish(*other).answered_from_store);
}

// What the service makes of a trusted source is everybody's.
TEST_F(BuildsTest, TheConfigStepIsSkippedWhenNothingOfItChanged) {
  ExpectConfigure();
  ExpectCompile();
  BuildRequest request = KernelRequestOf(KernelSource());
  std::get<KernelRequest>(request.spec).skip_cache = true;
  ASSERT_EQ(Run(request).state, BuildState::kSucceeded);
  ExpectCompile();
  EXPECT_EQ(Run(request).state, BuildState::kSucceeded);
}

TEST_F(BuildsTest, AChangedCFileDoesNotConfigureAnewAndAChangedKconfigDoes) {
  ExpectConfigure();
  ExpectCompile();
  ASSERT_EQ(Run(KernelRequestOf(KernelSource())).state, BuildState::kSucceeded);
  ExpectCompile();
  const std::string edited = KernelSource("void start_kernel(void) { for (;;) {} }\n");
  EXPECT_EQ(Run(KernelRequestOf(edited)).state, BuildState::kSucceeded);
  Write(directory_ / "linux/lib/Kconfig", "config LIB\n\tbool\n");
  ExpectConfigure();
  ExpectCompile();
  EXPECT_EQ(Run(KernelRequestOf(Import("linux"))).state, BuildState::kSucceeded);
  EXPECT_EQ(runner_.started().size(), 5u);
}

TEST_F(BuildsTest, AKernelThatDoesNotCompileFailsWithThePlace) {
  ExpectConfigure();
  runner_.Expect({.output = "  CC      kernel/fork.o\n",
                  .error = "/src/kernel/fork.c:12:3: error: expected ';'\n",
                  .result = Ended(2, host::EndCause::kExited),
                  .effect = {}});
  const BuildRecord build = Run(KernelRequestOf(KernelSource()));
  ASSERT_EQ(build.state, BuildState::kFailed);
  ASSERT_TRUE(build.failure.has_value());
  EXPECT_EQ(build.failure->fault, Fault::kSubject);
  EXPECT_EQ(build.failure->reason, Reason::kCompileError);
  EXPECT_EQ(build.failure->file, "kernel/fork.c");
  EXPECT_EQ(build.failure->line, 12);
  EXPECT_THAT(build.failure->excerpt, HasSubstr("  CC      kernel/fork.o"));
  EXPECT_TRUE(build.artifact_id.empty());
}

TEST_F(BuildsTest, ALostSymbolFailsBeforeAnythingIsCompiled) {
  ExpectConfigure();
  BuildRequest request = KernelRequestOf(KernelSource());
  std::get<KernelRequest>(request.spec).config_items = {"CONFIG_INET=y"};
  const BuildRecord build = Run(request);
  ASSERT_EQ(build.state, BuildState::kFailed);
  EXPECT_EQ(build.failure->fault, Fault::kCaller);
  EXPECT_EQ(build.failure->reason, Reason::kConfigSymbolLost);
  EXPECT_THAT(build.failure->message, HasSubstr("CONFIG_NET=y"));
  EXPECT_EQ(runner_.started().size(), 1u);
}

TEST_F(BuildsTest, AKernelWithoutDebugInformationFails) {
  ExpectConfigure();
  ExpectCompile(KERNEL_WITHOUT_DEBUG);
  const BuildRecord build = Run(KernelRequestOf(KernelSource()));
  ASSERT_EQ(build.state, BuildState::kFailed);
  EXPECT_EQ(build.failure->reason, Reason::kNoDebugInformation);
  EXPECT_EQ(build.failure->fault, Fault::kSubject);
}

TEST_F(BuildsTest, APlantedLinkIsNotFollowed) {
  ExpectConfigure();
  runner_.Expect(
      {.output = {}, .error = {}, .result = {}, .effect = [](const host::Sandbox& sandbox) {
         const auto path = host::FakeSandboxRunner::HostPath(sandbox, "/build/vmlinux");
         fs::create_symlink(KERNEL_WITH_DEBUG, path);
       }});
  const BuildRecord build = Run(KernelRequestOf(KernelSource()));
  ASSERT_EQ(build.state, BuildState::kFailed);
  EXPECT_EQ(build.failure->reason, Reason::kOutputUnsafe);
  ExpectConfigure();
}

TEST_F(BuildsTest, LimitsThatWereHitAreNamed) {
  struct Case {
    host::EndCause cause;
    Reason reason;
  };
  const std::string source = KernelSource();
  for (const Case& c : {Case{host::EndCause::kOutOfMemory, Reason::kOutOfMemory},
                        Case{host::EndCause::kTimedOut, Reason::kBuildTimedOut},
                        Case{host::EndCause::kTooManyProcesses, Reason::kTooManyProcesses},
                        Case{host::EndCause::kRunnerLost, Reason::kRunnerUnavailable}}) {
    runner_.Expect({.output = {}, .error = {}, .result = Ended(137, c.cause), .effect = {}});
    const BuildRecord build = Run(KernelRequestOf(source));
    EXPECT_EQ(build.state, BuildState::kFailed);
    EXPECT_EQ(build.failure->reason, c.reason);
  }
}

TEST_F(BuildsTest, CancelEndsARunningBuildAndAWaitingOne) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectUntilCancelled(started);
  const auto running = builds_->Create("alice", KernelRequestOf(source));
  const auto waiting = builds_->Create("bob", KernelRequestOf(source));
  started.WaitForNotification();
  EXPECT_EQ(builds_->Get(waiting->id)->progress.queue_position, 1);
  EXPECT_EQ(builds_->Cancel(waiting->id)->state, BuildState::kCancelled);
  EXPECT_EQ(builds_->Cancel(running->id)->state, BuildState::kCancelled);
  EXPECT_EQ(builds_->Cancel(running->id)->state, BuildState::kCancelled);
  EXPECT_TRUE(builds_->ReadLog(running->id, 0, 1 << 20)->ended);
}

// make at the compile step until the test lets it go on.
// The effect shares it, since the build may outlive the test's own hand on it.
TEST_F(BuildsTest, StepsAreCountedOnAfterARestart) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectConfigure();
  ExpectUntilCancelled(started, "  CC      kernel/a.o\n  CC      kernel/b.o\n  C");
  const auto build = builds_->Create("alice", KernelRequestOf(source));
  started.WaitForNotification();
  builds_.reset();
  ExpectCompile();
  OpenBuilds();
  const BuildRecord done = Finish(*build);
  ASSERT_EQ(done.state, BuildState::kSucceeded) << LogOf(done);
  EXPECT_EQ(done.progress.steps_done, 5);
  EXPECT_THAT(LogOf(done), HasSubstr("  C\n[kdbgd: "));  // no line is torn
}

TEST(BuildProgressTest, WhatIsLeftIsToldWhenTheRateIsKnown) {
  BuildProgress progress{.phase = BuildPhase::kCompiling, .steps_done = 100, .steps_expected = 400};
  EXPECT_FALSE(progress.TimeLeft().has_value());
  progress.steps_per_second = 10;
  EXPECT_EQ(progress.TimeLeft(), absl::Seconds(30));
  progress.steps_expected = 0;  // nobody knows of how many
  EXPECT_FALSE(progress.TimeLeft().has_value());
}

TEST_F(BuildsTest, WhatIsExpectedIsKnownFromAnyBuildOfThatConfig) {
  ExpectConfigure();
  ExpectCompile();
  BuildRequest request = KernelRequestOf(KernelSource());
  ASSERT_TRUE(Run(request).progress.steps_expected_estimated);
  request.display_name = "another";
  std::get<KernelRequest>(request.spec).skip_cache = true;
  ExpectConfigure();
  ExpectCompile();
  const BuildRecord second = Run(request);
  EXPECT_FALSE(second.progress.steps_expected_estimated);
  EXPECT_EQ(second.progress.steps_expected, 3);
}

TEST_F(BuildsTest, ALineOfWorkIsNamedByItselfElseByTheBuildElseByTheProject) {
  ExpectConfigure();
  ExpectCompile();
  BuildRequest request = KernelRequestOf(KernelSource());
  request.display_name = "";
  const std::string project = Run(request).workspace;
  EXPECT_THAT(project, HasSubstr("linux.kernel."));
  request.display_name = "named";
  std::get<KernelRequest>(request.spec).skip_cache = true;
  ExpectConfigure();
  ExpectCompile();
  EXPECT_THAT(Run(request).workspace, HasSubstr("named.kernel."));
  request.workspace = "linux-0123abcd";
  ExpectConfigure();
  ExpectCompile();
  EXPECT_THAT(Run(request).workspace, HasSubstr("linux-0123abcd.kernel."));
}

TEST_F(BuildsTest, WhatARestartInterruptedIsBuiltAgain) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectUntilCancelled(started);
  const auto build = builds_->Create("alice", KernelRequestOf(source));
  started.WaitForNotification();
  builds_.reset();
  ExpectConfigure();
  ExpectCompile();
  OpenBuilds();
  EXPECT_EQ(Finish(*build).state, BuildState::kSucceeded);
}

TEST_F(BuildsTest, ARunningBuildIsNotDeletedAndAnEndedOneIs) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectUntilCancelled(started);
  const auto build = builds_->Create("alice", KernelRequestOf(source));
  started.WaitForNotification();
  EXPECT_TRUE(HasReason(builds_->Delete(build->id), Reason::kWrongState));
  EXPECT_TRUE(builds_->Cancel(build->id).ok());
  EXPECT_TRUE(builds_->Delete(build->id).ok());
  EXPECT_TRUE(builds_->Delete(build->id).ok());
  EXPECT_TRUE(absl::IsNotFound(builds_->Get(build->id).status()));
}

TEST_F(BuildsTest, RequestsThatCannotBeMetAreRefusedAtOnce) {
  const std::string source = KernelSource();
  const auto refused = [&](auto change) {
    BuildRequest request = KernelRequestOf(source);
    change(request, std::get<KernelRequest>(request.spec));
    return builds_->Create("alice", request).status();
  };
  EXPECT_TRUE(
      HasReason(refused([](auto&, auto& k) { k.config_items = {"FOO"}; }), Reason::kConfigInvalid));
  EXPECT_TRUE(HasReason(refused([](auto&, auto& k) {
                          k.fragments = {{"f", "\x1f\x8b junk"}};
                        }),
                        Reason::kConfigInvalid));
  EXPECT_TRUE(
      HasReason(refused([](auto&, auto& k) { k.base_config = "../x"; }), Reason::kFieldInvalid));
  EXPECT_EQ(refused([](auto&, auto& k) { k.base_config = "no_such_defconfig"; }).code(),
            absl::StatusCode::kNotFound);
  for (const auto& [name, value] :
       {std::pair("CC", "evil"), std::pair("KCFLAGS", "$(shell id)"), std::pair("W", "y"),
        std::pair("LLVM", "/tmp/"), std::pair("LOCALVERSION", "a b"), std::pair("C", "1\nx")}) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(HasReason(refused([&, name = name, value = value](auto&, auto& k) {
                            k.make_variables = {{name, value}};
                          }),
                          Reason::kFieldInvalid));
  }
  EXPECT_TRUE(HasReason(refused([](auto&, auto& k) {
                          k.make_variables = {{"LLVM", "-99"}};
                        }),
                        Reason::kMissingTool));
  EXPECT_TRUE(HasReason(refused([](auto& r, auto&) { r.display_name = "No Spaces"; }),
                        Reason::kFieldInvalid));
  EXPECT_EQ(refused([](auto& r, auto&) { r.source_id = "s-none"; }).code(),
            absl::StatusCode::kNotFound);
  EXPECT_TRUE(HasReason(refused([](auto& r, auto&) { r.spec = InitramfsRequest{}; }),
                        Reason::kNotABusyboxTree));
}

TEST_F(BuildsTest, WithoutASandboxNothingIsBuilt) {
  runner_.SetAbility({.usable = false, .reason = "no user namespaces", .limits = {}});
  const auto build = builds_->Create("alice", KernelRequestOf(KernelSource()));
  EXPECT_TRUE(HasReason(build.status(), Reason::kSandboxUnavailable)) << build.status();
  EXPECT_EQ(build.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BuildsTest, OnAFullDiskWorkspacesGoThenNothingIsBegunAndTheMessageSaysWhatHelps) {
  ExpectConfigure();
  ExpectCompile();
  BuildRequest request = KernelRequestOf(KernelSource());
  ASSERT_EQ(Run(request).state, BuildState::kSucceeded);
  builds_.reset();
  free_space_floor_ = std::int64_t{1} << 60;
  OpenBuilds();
  // What is there already needs no room.
  EXPECT_TRUE(builds_->Create("alice", request)->answered_from_store);
  EXPECT_EQ(workspaces_->List(std::nullopt)->size(), 1u);
  const auto refused = builds_->Create("bob", request);
  EXPECT_EQ(workspaces_->List(std::nullopt)->size(), 0u);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(HasReason(refused.status(), Reason::kDiskFull));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("artifact rm"));
}

TEST_F(BuildsTest, TheSameRequestIdAnswersTheSameBuild) {
  ExpectConfigure();
  ExpectCompile();
  BuildRequest request = KernelRequestOf(KernelSource());
  request.request_id = "one";
  const auto first = builds_->Create("alice", request);
  const auto second = builds_->Create("alice", request);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(first->id, second->id);
  Finish(*first);
  EXPECT_EQ(builds_->List({})->size(), 1u);
}

}  // namespace
}  // namespace kdbg::build
