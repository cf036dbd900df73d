#include "server/build/builds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/support/subprocess.h"
#include "server/base/clock.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"
#include "server/source/workspace.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"
#include "tests/support/fake_sandbox_runner.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::string_view kConfig =
    "CONFIG_DEBUG_INFO=y\nCONFIG_GDB_SCRIPTS=y\nCONFIG_KALLSYMS=y\nCONFIG_FRAME_POINTER=y\n"
    "CONFIG_CC_VERSION_TEXT=\"gcc 12\"\n";

void Write(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

host::SandboxResult Ended(int code, host::EndCause cause) {
  host::SandboxResult result;
  result.status.code = code;
  result.cause = cause;
  return result;
}

// gdb's index is made beside whatever else runs, so it must not take what a test laid out for a
// build.
class RoutingRunner : public host::SandboxRunner {
 public:
  absl::StatusOr<std::unique_ptr<host::SandboxRun>> Start(const host::Sandbox& sandbox, int in,
                                                          int out, int error) override {
    host::FakeSandboxRunner& to = sandbox.argv[0] == "gdb" ? for_gdb : for_builds;
    return to.Start(sandbox, in, out, error);
  }
  host::SandboxAbility Probe() override { return for_builds.Probe(); }

  host::FakeSandboxRunner for_builds;
  host::FakeSandboxRunner for_gdb;
};

// The real store, sources and workspaces; a runner that leaves the files a test wants.
class BuildsTest : public ::testing::Test {
 protected:
  BuildsTest() {
    std::string name = ::testing::TempDir() + "kdbg-builds-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    OpenAll();
  }
  ~BuildsTest() override {
    CloseAll();
    fs::remove_all(directory_);
  }

  void OpenAll() {
    std::vector<state::Migration> all;
    for (const auto& some : {store::ArtifactStore::Migrations(), source::UploadStore::Migrations(),
                             source::SourceCatalog::Migrations(), source::Workspaces::Migrations(),
                             Builds::Migrations()}) {
      all.insert(all.end(), some.begin(), some.end());
    }
    database_ = *state::Database::Open(directory_ / "state.db", all);
    blobs_ = *store::BlobStore::Open(directory_ / "blobs");
    artifacts_ = std::make_unique<store::ArtifactStore>(*database_, *blobs_, clock_);
    objects_ = *source::ObjectDatabase::Open(directory_ / "objects.git");
    uploads_ = *source::UploadStore::Open(directory_ / "uploads", *database_, clock_, {});
    source::SourceSettings settings;
    settings.allowed_paths = {directory_};
    sources_ = *source::SourceCatalog::Open(*database_, *objects_, *uploads_, clock_, settings);
    workspaces_ = *source::Workspaces::Open(directory_ / "w", *database_, *objects_, clock_);
    OpenBuilds();
  }
  void OpenBuilds() {
    BuildParts parts{*database_,
                     *artifacts_,
                     *blobs_,
                     *sources_,
                     *objects_,
                     *workspaces_,
                     *uploads_,
                     routing_runner_,
                     clock_,
                     [](std::string_view) -> absl::StatusOr<std::optional<host::Identity>> {
                       return std::nullopt;
                     }};
    BuildSettings settings;
    settings.logs_directory = directory_ / "logs";
    settings.index_directory = directory_ / "gdb-index";
    settings.jobs = 3;
    builds_ = *Builds::Open(parts, settings);
  }
  void CloseAll() {
    builds_.reset();
    workspaces_.reset();
    sources_.reset();
  }

  std::string Import(const std::string& name) {
    const fs::path tarball = directory_ / (name + ".tar");
    Subprocess::Options tar;
    tar.argv = {"tar", "-C", directory_.string(), "-cf", tarball.string(), name};
    EXPECT_TRUE(RunCommand(tar)->status.ok());
    absl::Notification ready;
    source::SourceOrigin origin;
    origin.kind = source::OriginKind::kServerPath;
    origin.text = tarball.string();
    std::string id;
    const Subscription subscription = sources_->Subscribe([&](const source::SourceRecord& source) {
      if (source.state != source::SourceState::kImporting && !ready.HasBeenNotified()) {
        ready.Notify();
      }
    });
    source::SourceRequest request;
    request.owner = "alice";
    request.origin = origin;
    const auto source = sources_->Create(request);
    EXPECT_TRUE(source.ok()) << source.status();
    if (sources_->Get(source->id)->state == source::SourceState::kImporting) {
      ready.WaitForNotification();
    }
    EXPECT_EQ(sources_->Get(source->id)->project.empty(), name == "other");
    return source->id;
  }
  std::string KernelSource(std::string_view main = "void start_kernel(void) {}\n") {
    const fs::path tree = directory_ / "linux";
    Write(tree / "Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n");
    Write(tree / "kernel/fork.c", "");
    Write(tree / "init/main.c", main);
    Write(tree / "Kconfig",
          "config NET\n\tbool \"n\"\nconfig INET\n\tbool \"i\"\n\tdepends on NET\n");
    Write(tree / "scripts/gdb/linux/tasks.py", "pass\n");
    Write(tree / "scripts/gdb/vmlinux-gdb.py", "pass\n");
    return Import("linux");
  }

  // What `make` would leave: first the config, then the kernel.
  void ExpectConfigure(std::string_view config = kConfig) {
    runner_.Expect({.output = "configuring\n",
                    .error = {},
                    .result = {},
                    .effect = [config = std::string(config)](const host::Sandbox& sandbox) {
                      const auto path = [&](const char* name) {
                        return host::FakeSandboxRunner::HostPath(sandbox, name);
                      };
                      Write(path("/build/.kdbg/work.config"), config);
                      Write(path("/build/.config"), config);
                    }});
  }
  // A command that says `output` and then runs until somebody ends it.
  void ExpectUntilCancelled(absl::Notification& started, std::string output = {}) {
    runner_.Expect({.output = std::move(output),
                    .error = {},
                    .result = {},
                    .until_cancelled = true,
                    .effect = [&](const host::Sandbox&) { started.Notify(); }});
  }

  void ExpectCompile(std::string vmlinux = KERNEL_WITH_DEBUG) {
    runner_.Expect({.output = "  CC      init/main.o\n  CC      kernel/fork.o\n  LD      vmlinux\n",
                    .error = {},
                    .result = {},
                    .effect = [vmlinux](const host::Sandbox& sandbox) {
                      const fs::path build = host::FakeSandboxRunner::HostPath(sandbox, "/build/x");
                      const fs::path at = build.parent_path();
                      fs::copy_file(vmlinux, at / "vmlinux", fs::copy_options::overwrite_existing);
                      Write(at / "arch/x86/boot/bzImage", "image");
                      Write(at / "System.map", "0 T start_kernel\n");
                      Write(at / "include/config/kernel.release", "6.1.7\n");
                      Write(at / "scripts/gdb/linux/constants.py", "pass\n");
                      Write(at / "compile_commands.json", "[]\n");
                      Write(at / ".kdbg/ccache.log",
                            "# a.c\ndirect_cache_hit\n# b.c\ncache_miss\n");
                    }});
  }

  BuildRequest KernelRequestOf(const std::string& source) {
    BuildRequest request;
    request.source_id = source;
    KernelRequest kernel;
    kernel.architecture = Architecture::kX86_64;
    request.spec = kernel;
    return request;
  }
  BuildRecord Finish(const BuildRecord& build) {
    absl::Notification done;
    const Subscription subscription = builds_->Subscribe(build.id, [&](const BuildRecord& record) {
      if (IsFinal(record.state) && !done.HasBeenNotified()) done.Notify();
    });
    if (!IsFinal(builds_->Get(build.id)->state)) done.WaitForNotification();
    return *builds_->Get(build.id);
  }
  BuildRecord Run(const BuildRequest& request) {
    const auto build = builds_->Create("alice", request);
    EXPECT_TRUE(build.ok()) << build.status();
    return Finish(*build);
  }
  std::string LogOf(const BuildRecord& build) {
    return builds_->ReadLog(build.id, 0, 1 << 20)->data;
  }

  fs::path directory_;
  SystemClock clock_;
  RoutingRunner routing_runner_;
  host::FakeSandboxRunner& runner_ = routing_runner_.for_builds;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::ArtifactStore> artifacts_;
  std::unique_ptr<source::ObjectDatabase> objects_;
  std::unique_ptr<source::UploadStore> uploads_;
  std::unique_ptr<source::SourceCatalog> sources_;
  std::unique_ptr<source::Workspaces> workspaces_;
  std::unique_ptr<Builds> builds_;
};

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
  ASSERT_EQ(sandbox.binds.size(), 3u);
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
  EXPECT_EQ(refused([](auto&, auto& k) { k.patches = {"x"}; }).code(),
            absl::StatusCode::kUnimplemented);
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
