// Directories on this machine as sources, from the user's side.
#include <gmock/gmock.h>

#include <string>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/cli/cli_fixture.h"
#include "tests/support/git_repository.h"

namespace kdbg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class DirectoryTest : public CliTest {
 protected:
  DirectoryTest() {
    v1::Source source;
    source.set_name("sources/s-1");
    source.set_state(v1::Source::READY);
    source.set_project("linux");
    state().sources[source.name()] = source;
    v1::Build done = MakeBuild("b-1", v1::Build::SUCCEEDED);
    done.set_artifact("artifacts/a-1");
    state().watch_steps = {done};
    state().builds["builds/b-1"] = done;
    work_.Write("kernel/fork.c", std::string(5000, 'f') + "\n");
    work_.Write("init/main.c", "\n");
    work_.Write("Makefile", "VERSION = 6\n");
    tree_ = work_.Commit();
  }
  // A server that took this tree has all below it.
  void Have(const std::string& tree) {
    absl::MutexLock lock(&state().mutex);
    const std::string ids = work_.Git({"ls-tree", "-r", "-t", "--format=%(objectname)", tree});
    for (std::size_t at = 0; at < ids.size(); at += 41) {
      state().known_objects.insert(ids.substr(at, 40));
    }
    state().known_objects.insert(tree);
  }
  CliResult Build(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"kernel", "build", work_.folder()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }

  const GitRepository work_{home_ / "My Linux"};
  std::string tree_;
};

TEST_F(DirectoryTest, AWorkTreeTravelsInTheCallWhenItIsSmall) {
  const CliResult result = Build();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("objects of "));
  ASSERT_EQ(state().git_packs.size(), 1u);
  const v1::Source::GitPack& pack = state().git_packs[0];
  EXPECT_EQ(pack.tree(), tree_);
  EXPECT_EQ(pack.commit(), work_.Git({"rev-parse", "HEAD"}));
  EXPECT_FALSE(pack.dirty());
  EXPECT_EQ(pack.directory(), work_.folder());
  EXPECT_TRUE(pack.pack().starts_with("PACK"));
  EXPECT_EQ(pack.delta_bases_size(), 0);
  EXPECT_TRUE(state().uploads.empty());
}

TEST_F(DirectoryTest, TheLineOfWorkIsTheDirectoryUnlessItHasAName) {
  EXPECT_EQ(Build().exit_code, 0);
  const std::string workspace = state().created_builds[0].build().workspace();
  EXPECT_THAT(workspace, MatchesRegex("my-linux-[0-9a-f]{8}"));
  work_.Write("Makefile", "VERSION = 7\n");
  EXPECT_EQ(Build().exit_code, 0);
  EXPECT_EQ(state().created_builds[1].build().workspace(), workspace);
  EXPECT_EQ(Build({"--name", "kasan"}).exit_code, 0);
  EXPECT_EQ(state().created_builds[2].build().workspace(), "");
  EXPECT_EQ(state().created_builds[2].build().display_name(), "kasan");
}

TEST_F(DirectoryTest, AnEditSendsOnlyItself) {
  EXPECT_EQ(Build().exit_code, 0);
  Have(tree_);
  work_.Write("kernel/fork.c", std::string(5000, 'f') + "\nint x;\n");
  const CliResult result = Build();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("3 objects"));
  const v1::Source::GitPack pack = state().git_packs[1];
  EXPECT_TRUE(pack.dirty());
  EXPECT_LT(pack.pack().size(), 600u);
  EXPECT_EQ(pack.delta_bases_size(), 3);
  // Nothing at all, when nothing changed since.
  EXPECT_EQ(Build().exit_code, 0);
  EXPECT_EQ(state().git_packs[2].pack(), "");
  EXPECT_EQ(state().git_packs[2].tree(), pack.tree());
  // The edit is not committed, and still what the next difference is taken from.
  work_.Git({"add", "kernel/fork.c"});
  ASSERT_EQ(work_.Git({"write-tree"}), pack.tree());
  Have(pack.tree());
  work_.Write("kernel/fork.c", std::string(5000, 'f') + "\nint x, y;\n");
  EXPECT_EQ(Build().exit_code, 0);
  EXPECT_LT(state().git_packs[3].pack().size(), 600u);
}

TEST_F(DirectoryTest, ALargePackIsUploadedAndAgainFromWhereItBroke) {
  std::string noise;
  std::uint32_t number = 1;
  while (noise.size() < 4'000'000) {
    number = number * 1664525 + 1013904223;
    noise += static_cast<char>(number >> 24);
  }
  work_.Write("firmware.bin", noise);
  state().break_upload_after = 1'000'000;
  const CliResult result = Build();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(state().upload_offsets.size(), 2u);
  EXPECT_GE(state().upload_offsets[1], 1'000'000);
  EXPECT_EQ(state().git_packs[0].upload(), state().uploads.begin()->first);
  EXPECT_TRUE(state().uploads.begin()->second.starts_with("PACK"));
}

TEST_F(DirectoryTest, ObjectsThatWentMeanwhileAreSentTheSecondTime) {
  Have(tree_);
  work_.Write("Makefile", "VERSION = 7\n");
  state().create_source_statuses = {ToGrpcStatus(
      MakeError(absl::StatusCode::kFailedPrecondition, Reason::kObjectsMissing, "ask again"))};
  const CliResult result = Build();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(state().git_packs.size(), 2u);
  EXPECT_GT(state().git_packs[0].delta_bases_size(), 0);
  EXPECT_EQ(state().git_packs[1].delta_bases_size(), 0);
}

TEST_F(DirectoryTest, ABusyServerGetsItAsAnUpload) {
  state().create_source_statuses = {ToGrpcStatus(
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls, "one at a time"))};
  const CliResult result = Build();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  ASSERT_EQ(state().git_packs.size(), 2u);
  EXPECT_EQ(state().git_packs[1].pack(), "");
  EXPECT_EQ(state().git_packs[1].upload(), state().uploads.begin()->first);
}

TEST_F(DirectoryTest, ADirectoryWithoutGitIsSentToo) {
  for (const char* path : {".-Plain/Makefile", ".-Plain/kernel/fork.c", ".-Plain/init/main.c"}) {
    WriteFile(path, "VERSION = 6\n");
  }
  const CliResult result = Run({"kernel", "build", (home_ / ".-Plain").string()});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(state().git_packs[0].commit(), "");
  EXPECT_THAT(state().created_builds[0].build().workspace(), MatchesRegex("plain-[0-9a-f]{8}"));
  EXPECT_TRUE(state().git_packs[0].pack().starts_with("PACK"));
}

TEST_F(DirectoryTest, WhatCannotBeSentIsSaidBeforeAnythingTravels) {
  std::filesystem::create_directories(home_ / "empty");
  const CliResult empty = Run({"kernel", "build", (home_ / "empty").string()});
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_THAT(empty.err, HasSubstr("not the top of a Linux source"));
  const CliResult inside = Run({"kernel", "build", (work_.folder() / "kernel").string()});
  EXPECT_EQ(inside.exit_code, 1);
  EXPECT_THAT(inside.err, HasSubstr("did you mean " + work_.folder().string() + "?"));
  const CliResult busybox = Run({"initramfs", "build", "--busybox", work_.folder().string()});
  EXPECT_EQ(busybox.exit_code, 1);
  EXPECT_THAT(busybox.err, HasSubstr("not the top of a BusyBox source"));
  const CliResult ref = Build({"--ref", "v9"});
  EXPECT_EQ(ref.exit_code, 2);
  EXPECT_THAT(ref.err, HasSubstr("no such branch, tag or commit"));
  EXPECT_TRUE(state().git_packs.empty());
}

TEST_F(DirectoryTest, ARefIsSentInsteadOfTheFiles) {
  work_.Git({"tag", "v1"});
  work_.Write("Makefile", "VERSION = 7\n");
  EXPECT_EQ(Build({"--ref", "v1"}).exit_code, 0);
  EXPECT_EQ(state().git_packs[0].tree(), tree_);
}

}  // namespace
}  // namespace kdbg::test
