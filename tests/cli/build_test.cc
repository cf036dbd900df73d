// Sources and builds from the user's side.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "proto/support/sha256.h"
#include "proto/support/unique_fd.h"
#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class BuildTest : public CliTest {
 protected:
  BuildTest() {
    v1::Source source;
    source.set_name("sources/s-1");
    source.set_state(v1::Source::READY);
    source.set_project("linux");
    state().sources[source.name()] = source;
    v1::Build running = MakeBuild("b-1", v1::Build::RUNNING);
    running.mutable_progress()->set_phase(v1::BuildProgress::COMPILING);
    running.mutable_progress()->set_steps_done(3);
    running.mutable_progress()->set_steps_expected(10);
    v1::Build done = MakeBuild("b-1", v1::Build::SUCCEEDED);
    done.set_artifact("artifacts/a-1");
    state().watch_steps = {running, done};
    state().builds["builds/b-1"] = done;
  }

  v1::Build Created() {
    absl::MutexLock lock(&state().mutex);
    return state().created_builds.back().build();
  }
};

TEST_F(BuildTest, ATarballTravelsOnceAndIsKnownByItsDigestThen) {
  const std::string tarball = WriteFile("linux.tar", std::string(2'000'000, 'x'));
  const CliResult first = Run({"kernel", "build", tarball, "--name", "mine"});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("Artifact:  a-1"));
  EXPECT_THAT(first.err, HasSubstr("importing 10 files"));
  EXPECT_THAT(first.err, HasSubstr("compiling [######..............] 3/10 objects"));
  EXPECT_EQ(Run({"kernel", "build", tarball}).exit_code, 0);
  EXPECT_THAT(state().upload_offsets, ElementsAre(0));
  EXPECT_EQ(state().uploads.begin()->second, std::string(2'000'000, 'x'));
}

TEST_F(BuildTest, TheRateAndWhatIsLeftAreShownAndThatItIsAnEstimate) {
  v1::BuildProgress& progress = *state().watch_steps[0].mutable_progress();
  progress.set_steps_expected_estimated(true);
  progress.set_steps_per_second(6.4);
  progress.mutable_time_left()->set_seconds(75);
  EXPECT_THAT(Run({"build", "watch", "b-1"}).err,
              HasSubstr("3/10 objects (estimated), 6/s, 1m15s left"));
}

TEST_F(BuildTest, ABrokenUploadGoesOnFromWhereItBroke) {
  state().break_upload_after = 1'000'000;
  const std::string tarball = WriteFile("linux.tar", std::string(4'000'000, 'y'));
  const CliResult result = Run({"kernel", "build", tarball});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(state().upload_offsets.size(), 2u);
  EXPECT_GE(state().upload_offsets[1], 1'000'000);
  EXPECT_EQ(state().uploads.begin()->second.size(), 4'000'000u);
}

TEST_F(BuildTest, ASourceThatFailsToImportEndsItWithTheReason) {
  v1::Source& source = state().sources["sources/s-1"];
  source.set_state(v1::Source::FAILED);
  source.mutable_failure()->set_reason("NOT_AN_ARCHIVE");
  source.mutable_failure()->set_message("this is no archive");
  const CliResult result = Run({"kernel", "build", WriteFile("x.tar", "hello")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("this is no archive (NOT_AN_ARCHIVE)"));
  EXPECT_TRUE(state().created_builds.empty());
}

TEST_F(BuildTest, OptionsBecomeTheKernelSpec) {
  const std::string fragment = WriteFile("debug.config", "CONFIG_KASAN=y\n");
  const CliResult result =
      Run({"kernel", "build", "sources/s-1", "--config", "defconfig", "--config", fragment, "--set",
           "CONFIG_X=y", "--make", "LLVM=1", "--arch", "arm64", "--clean", "--no-cache",
           "--private", "--detach", "-o", "name"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "builds/b-1\n");
  const v1::Build build = Created();
  EXPECT_EQ(build.kernel().base_config(), "defconfig");
  ASSERT_EQ(build.kernel().fragments_size(), 1);
  EXPECT_EQ(build.kernel().fragments(0).name(), "debug.config");
  EXPECT_EQ(build.kernel().config_items(0), "CONFIG_X=y");
  EXPECT_EQ(build.kernel().make_variables().at("LLVM"), "1");
  EXPECT_EQ(build.kernel().architecture(), v1::ARCHITECTURE_ARM64);
  EXPECT_TRUE(build.kernel().clean() && build.kernel().skip_cache() && build.private_());
}

TEST_F(BuildTest, PatchesMakeAnotherSource) {
  const std::string one = WriteFile("one.patch", "--- a/x\n+++ b/x\n");
  const std::string two = WriteFile("two.mbox", "From x\n");
  const CliResult result =
      Run({"kernel", "build", "sources/s-1", "--patch", one, "--patch", two, "--detach"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(state().patched.size(), 1u);
  EXPECT_EQ(state().patched[0].source(), "sources/s-1");
  EXPECT_EQ(state().patched[0].patches(0).name(), "one.patch");
  EXPECT_EQ(state().patched[0].patches(0).text(), "--- a/x\n+++ b/x\n");
  EXPECT_EQ(state().patched[0].patches(1).name(), "two.mbox");
  const CliResult missing = Run({"kernel", "build", "sources/s-1", "--patch", "no.patch"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("no.patch: no such file"));
}

TEST_F(BuildTest, AWholeConfigIsTheBase) {
  const std::string config =
      WriteFile(".config", "#\n# Automatically generated file; DO NOT EDIT.\n#\nCONFIG_X=y\n");
  EXPECT_EQ(Run({"kernel", "build", "sources/s-1", "--config", config}).exit_code, 0);
  EXPECT_THAT(Created().kernel().base_config_text(), HasSubstr("CONFIG_X=y"));
  EXPECT_EQ(
      Run({"kernel", "build", "sources/s-1", "--config", config, "--config", "tiny"}).exit_code, 2);
}

TEST_F(BuildTest, SourcesThatAreNotThereAreNamed) {
  const CliResult missing = Run({"kernel", "build", "/nonexistent/linux.tar"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.err, HasSubstr("/nonexistent/linux.tar: no such file here"));
}

TEST_F(BuildTest, AFailedBuildPrintsPlaceReasonAndExcerpt) {
  v1::Build failed = MakeBuild("b-1", v1::Build::FAILED);
  failed.mutable_failure()->set_reason("COMPILE_ERROR");
  failed.mutable_failure()->set_message("'x' undeclared");
  failed.mutable_failure()->set_file("mm/mmap.c");
  failed.mutable_failure()->set_line(12);
  failed.mutable_failure()->set_excerpt("  CC mm/mmap.o\nmm/mmap.c:12:3: error: 'x' undeclared\n");
  failed.set_log_size_bytes(100);
  state().watch_steps = {failed};
  const CliResult result = Run({"kernel", "build", "sources/s-1", "-o", "json"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("kdbgctl: builds/b-1 failed: mm/mmap.c:12: 'x' undeclared (COMPILE_ERROR)\n"
                        "  |   CC mm/mmap.o\n  | mm/mmap.c:12:3: error: 'x' undeclared\n"));
  EXPECT_THAT(result.err, HasSubstr("kdbgctl build log b-1"));
  EXPECT_THAT(result.out, HasSubstr("\"state\": \"FAILED\""));
}

std::string ReadUntil(int fd, const std::string& text) {
  std::string seen;
  char buffer[512];
  while (seen.find(text) == std::string::npos) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n <= 0) break;
    seen.append(buffer, static_cast<std::size_t>(n));
  }
  return seen;
}

TEST_F(BuildTest, CtrlCStopsWatchingNotTheBuild) {
  state().hold_watch = true;
  int errors[2];
  ASSERT_EQ(::pipe2(errors, O_CLOEXEC), 0);
  UniqueFd read_end(errors[0]);
  UniqueFd write_end(errors[1]);
  Subprocess process = Start({"build", "watch", "b-1"}, {{2, write_end.get()}});
  write_end.Reset();
  EXPECT_THAT(ReadUntil(read_end.get(), "compiling"), HasSubstr("compiling"));
  process.Signal(SIGINT);
  EXPECT_THAT(ReadUntil(read_end.get(), "goes on"),
              HasSubstr("stopped watching: build b-1 goes on"));
  EXPECT_EQ(process.Wait().code, 130);
}

TEST_F(BuildTest, OnATerminalProgressIsOneLiveLine) {
  environment_.push_back("TERM=xterm");
  std::erase(environment_, "TERM=dumb");
  state().hold_watch = true;
  Terminal terminal;
  Subprocess process = Start({"build", "watch", "b-1"}, {{2, terminal.slave()}});
  EXPECT_THAT(terminal.ReadUntil("objects  5m"),
              HasSubstr("\rcompiling [######..............] 3/10 objects  5m"));
  process.Signal(SIGINT);
  EXPECT_THAT(terminal.ReadUntil("goes on"), HasSubstr("\r\x1b[Kstopped watching"));
  EXPECT_EQ(process.Wait().code, 130);
}

TEST_F(BuildTest, AWatchOutlivesARestartOfTheServer) {
  state().hold_watch = true;
  int errors[2];
  ASSERT_EQ(::pipe2(errors, O_CLOEXEC), 0);
  UniqueFd read_end(errors[0]);
  UniqueFd write_end(errors[1]);
  Subprocess process = Start({"build", "watch", "b-1"}, {{2, write_end.get()}});
  write_end.Reset();
  ReadUntil(read_end.get(), "compiling");
  server_.Stop();
  {
    absl::MutexLock lock(&state().mutex);
    state().hold_watch = false;
  }
  server_.Start();
  EXPECT_EQ(process.Wait().code, 0);
}

TEST_F(BuildTest, ListsAreTablesDocumentsOrNames) {
  state().builds["builds/b-2"] = MakeBuild("b-2", v1::Build::QUEUED);
  EXPECT_EQ(Run({"build", "list"}).out,
            "BUILD  NAME  KIND    STATE      ARTIFACT  TOOK  AGE  OWNER\n"
            "b-1    mine  kernel  SUCCEEDED  a-1              5m  alice\n"
            "b-2    mine  kernel  QUEUED                      5m  alice\n");
  EXPECT_EQ(Run({"build", "list", "-o", "name"}).out, "builds/b-1\nbuilds/b-2\n");
  const CliResult json = Run({"build", "list", "-o", "json"});
  EXPECT_THAT(json.out, HasSubstr("\"builds\": ["));
  EXPECT_THAT(json.out, HasSubstr("builds/b-2"));
  EXPECT_THAT(json.out, Not(HasSubstr("nextPageToken")));
  state().builds.clear();
  EXPECT_EQ(Run({"build", "list", "-o", "json"}).out, "{\n \"builds\": []\n}\n");
  EXPECT_EQ(Run({"build", "list"}).err, "no builds\n");
}

TEST_F(BuildTest, TheLogIsBytesFromWhereOneAsks) {
  state().log = "CC a.o\nCC b.o\n";
  EXPECT_EQ(Run({"build", "log", "b-1"}).out, "CC a.o\nCC b.o\n");
  EXPECT_EQ(Run({"build", "log", "b-1", "--since", "7"}).out, "CC b.o\n");
}

TEST_F(BuildTest, ANameThatIsNoneIsNotFoundAndABadOneIsUsage) {
  EXPECT_EQ(Run({"build", "show", "nothing"}).exit_code, 3);
  EXPECT_EQ(Run({"build", "show", "--", "../x"}).exit_code, 2);
}

TEST_F(BuildTest, QuietSaysNothingButTheAnswer) {
  const CliResult result = Run({"-q", "-o", "name", "kernel", "build", "sources/s-1"});
  EXPECT_EQ(result.out, "builds/b-1\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(BuildTest, AnInitramfsTakesTheNewestBusyboxWhenNoneIsGiven) {
  EXPECT_EQ(Run({"initramfs", "build"}).exit_code, 2);
  state().sources["sources/s-2"] = state().sources["sources/s-1"];
  state().sources["sources/s-2"].set_name("sources/s-2");
  state().sources["sources/s-2"].set_project("busybox");
  EXPECT_EQ(Run({"initramfs", "build", "--init", WriteFile("init", "#!/bin/sh\n")}).exit_code, 0);
  EXPECT_EQ(Created().source(), "sources/s-2");
  EXPECT_EQ(Created().initramfs().init(), "#!/bin/sh\n");
}

TEST_F(BuildTest, AnOverlayDirectoryIsPackedTheSameEachTimeAndSentOnce) {
  state().sources["sources/s-2"] = state().sources["sources/s-1"];
  state().sources["sources/s-2"].set_name("sources/s-2");
  state().sources["sources/s-2"].set_project("busybox");
  const std::filesystem::path folder =
      std::filesystem::path(WriteFile("overlay-tool", "#!/bin/sh\n")).parent_path() / "overlay";
  std::filesystem::create_directories(folder / "etc");
  std::ofstream(folder / "etc/motd") << "hello";
  const std::string config = WriteFile("busybox.fragment", "CONFIG_FEATURE_FANCY_ECHO=n\n");
  ASSERT_EQ(Run({"initramfs", "build", "--overlay", folder.string(), "--config", config,
                 "--compress", "gzip"})
                .exit_code,
            0);
  const v1::InitramfsSpec first = Created().initramfs();
  ASSERT_EQ(first.overlay_uploads_size(), 1);
  EXPECT_EQ(first.compression(), v1::InitramfsSpec::GZIP);
  ASSERT_EQ(first.fragments_size(), 1);
  EXPECT_EQ(first.fragments(0).name(), "busybox.fragment");
  std::filesystem::last_write_time(folder / "etc/motd",
                                   std::filesystem::file_time_type::clock::now());
  ASSERT_EQ(Run({"initramfs", "build", "--overlay", folder.string()}).exit_code, 0);
  EXPECT_EQ(Created().initramfs().overlay_uploads(0), first.overlay_uploads(0));
}

TEST_F(BuildTest, ACompressionNobodyKnowsIsUsage) {
  EXPECT_EQ(Run({"initramfs", "build", "--compress", "rar"}).exit_code, 2);
}

}  // namespace
}  // namespace kdbg::test
