#include "client/source/snapshot.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "proto/support/file.h"
#include "tests/support/git_repository.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class SnapshotTest : public ::testing::Test {
 protected:
  SnapshotTest() {
    std::string name = ::testing::TempDir() + "kdbg-snapshot-XXXXXX";
    home_ = fs::canonical(::mkdtemp(name.data()));
  }
  ~SnapshotTest() override { fs::remove_all(home_); }

  absl::StatusOr<Snapshot> Take(const fs::path& directory, const std::string& ref = "",
                                std::stop_token stop = {}) {
    const auto cache = DirectoryCache::Open(home_ / "cache", directory, 1 << 30);
    EXPECT_TRUE(cache.ok()) << cache.status();
    return TakeSnapshot({.directory = directory, .ref = ref, .project = project_}, *cache, stop);
  }
  // "mode path" -> content.
  static std::map<std::string, std::string> Files(const Snapshot& snapshot) {
    std::map<std::string, std::string> files;
    const std::string paths = *snapshot.git.Run(
        {"ls-tree", "--full-tree", "-r", "--format=%(objectmode) %(path)", snapshot.tree});
    for (std::size_t at = 0; at < paths.size();) {
      const std::size_t end = paths.find('\n', at);
      const std::string line = paths.substr(at, end - at);
      at = end + 1;
      const bool submodule = line.starts_with("160000");
      files[line] =
          submodule ? ""
                    : *snapshot.git.Run({"cat-file", "blob", snapshot.tree + ":" + line.substr(7)});
    }
    return files;
  }
  static void Write(const fs::path& path, std::string_view content) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  static void SetTime(const fs::path& path, std::int64_t seconds) {
    const timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  // Everything git keeps of a repository, but for what reading leaves alone too.
  static std::map<std::string, std::string> Insides(const fs::path& git_directory) {
    std::map<std::string, std::string> insides;
    for (const auto& entry : fs::recursive_directory_iterator(git_directory)) {
      if (!entry.is_regular_file()) continue;
      struct stat status {};
      ::stat(entry.path().c_str(), &status);
      insides[entry.path()] = *ReadFile(entry.path()) + std::to_string(status.st_mtim.tv_sec) +
                              "." + std::to_string(status.st_mtim.tv_nsec);
    }
    return insides;
  }

  // Whether git wrote an object since the beginning.
  bool HasReadFiles() const {
    for (const auto& entry : fs::recursive_directory_iterator(home_ / "cache")) {
      if (entry.is_regular_file() &&
          entry.path().parent_path().parent_path().filename() == "objects")
        return true;
    }
    return false;
  }

  fs::path home_;
  Project project_;  // any
};

TEST_F(SnapshotTest, ACleanWorkTreeIsItsCommit) {
  const GitRepository work(home_ / "work");
  work.Write("a.c", "int a;\n");
  const std::string tree = work.Commit();
  const auto snapshot = Take(work.folder());
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->tree, tree);
  EXPECT_EQ(snapshot->head_tree, tree);
  EXPECT_EQ(snapshot->commit, work.Git({"rev-parse", "HEAD"}));
  EXPECT_FALSE(snapshot->dirty);
}

TEST_F(SnapshotTest, HoldsWhatIsStagedChangedNewAndGoneButNotWhatIsIgnored) {
  const GitRepository work(home_ / "work");
  work.Write(".gitignore", "*.o\n");
  work.Write("changed.c", "old\n");
  work.Write("staged.c", "old\n");
  work.Write("gone.c", "gone\n");
  work.Write("dir/same.c", "same\n");
  work.Commit();
  work.Write("changed.c", "new\n");
  work.Write("staged.c", "new\n");
  work.Git({"add", "staged.c"});
  work.Remove("gone.c");
  work.Write("dir/untracked.c", "untracked\n");
  work.Write("dir/untracked.o", "ignored\n");
  work.Write("run", "#!/bin/sh\n");
  fs::permissions(work.folder() / "run", fs::perms(0755));
  fs::create_symlink("/etc/passwd", work.folder() / "link");
  fs::create_directories(work.folder() / "empty");
  ::mkfifo((work.folder() / "pipe").c_str(), 0600);
  const auto snapshot = Take(work.folder());
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_TRUE(snapshot->dirty);
  EXPECT_THAT(
      Files(*snapshot),
      UnorderedElementsAre(Pair("100644 .gitignore", "*.o\n"), Pair("100644 changed.c", "new\n"),
                           Pair("100644 staged.c", "new\n"), Pair("100644 dir/same.c", "same\n"),
                           Pair("100644 dir/untracked.c", "untracked\n"),
                           Pair("100755 run", "#!/bin/sh\n"), Pair("120000 link", "/etc/passwd")));
}

TEST_F(SnapshotTest, LeavesNothingInTheRepository) {
  const GitRepository work(home_ / "work");
  work.Write("a.c", "old\n");
  work.Commit();
  work.Write("a.c", "new\n");
  work.Write("b.c", "new\n");
  const auto before = Insides(work.folder() / ".git");
  ASSERT_TRUE(Take(work.folder()).ok());
  EXPECT_EQ(Insides(work.folder() / ".git"), before);
  EXPECT_EQ(work.Git({"status", "--short"}), " M a.c\n?? b.c");
}

// An edit in the same moment, of the same size: told only by the index being as old as the file.
TEST_F(SnapshotTest, AnEditAsOldAsTheIndexIsSeen) {
  const GitRepository work(home_ / "work");
  work.Git({"config", "core.trustctime", "false"});
  work.Git({"config", "core.checkStat", "minimal"});
  work.Write("a.c", "old\n");
  SetTime(work.folder() / "a.c", 1'000'000'000);
  work.Commit();
  work.Write("a.c", "new\n");
  SetTime(work.folder() / "a.c", 1'000'000'000);
  SetTime(work.folder() / ".git/index", 1'000'000'000);
  const auto snapshot = Take(work.folder());
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_THAT(Files(*snapshot), ElementsAre(Pair("100644 a.c", "new\n")));
}

TEST_F(SnapshotTest, AFolderOfARepositoryIsSentAsTheTop) {
  const GitRepository work(home_ / "work");
  work.Write("kernel/linux/Makefile", "VERSION = 6\n");
  work.Write("docs/x", "x\n");
  work.Commit();
  auto snapshot = Take(work.folder() / "kernel/linux");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_FALSE(snapshot->dirty);
  EXPECT_THAT(Files(*snapshot), ElementsAre(Pair("100644 Makefile", "VERSION = 6\n")));
  work.Write("kernel/linux/new.c", "");
  work.Write("docs/x", "y\n");
  snapshot = Take(work.folder() / "kernel/linux");
  EXPECT_TRUE(snapshot->dirty);
  EXPECT_EQ(Files(*snapshot).size(), 2u);
}

TEST_F(SnapshotTest, ShallowClonesLinkedWorkTreesAndFreshRepositoriesWork) {
  const GitRepository work(home_ / "work");
  work.Write("a.c", "1\n");
  work.Commit();
  work.Write("a.c", "2\n");
  const std::string tree = work.Commit();
  work.Git({"clone", "-q", "--depth=1", "file://" + work.folder().string(), home_ / "shallow"});
  work.Git({"worktree", "add", "-q", home_ / "linked", "HEAD"});
  for (const char* name : {"shallow", "linked"}) {
    Write(home_ / name / "b.c", "b\n");
    const auto snapshot = Take(home_ / name);
    ASSERT_TRUE(snapshot.ok()) << name << ": " << snapshot.status();
    EXPECT_EQ(snapshot->head_tree, tree);
    EXPECT_EQ(Files(*snapshot).size(), 2u);
  }
  const GitRepository fresh(home_ / "fresh");
  fresh.Write("a.c", "a\n");
  const auto snapshot = Take(fresh.folder());
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->commit, "");
  EXPECT_THAT(Files(*snapshot), ElementsAre(Pair("100644 a.c", "a\n")));
}

TEST_F(SnapshotTest, ARefIsSentWithoutALookAtTheFiles) {
  const GitRepository work(home_ / "work");
  work.Write("a.c", "1\n");
  const std::string tree = work.Commit();
  work.Git({"tag", "-m", "one", "v1"});
  work.Write("a.c", "2\n");
  work.Commit();
  const auto snapshot = Take(work.folder(), "v1");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->tree, tree);
  EXPECT_FALSE(snapshot->dirty);
  for (const char* wrong : {"v2", "--all", "-x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Take(work.folder(), wrong).status())) << wrong;
  }
  work.Git({"clone", "-q", "--bare", ".", home_ / "bare.git"});
  EXPECT_TRUE(Take(home_ / "bare.git").ok());
}

TEST_F(SnapshotTest, ADirectoryWithoutGitIsSentWholeIgnoringNothing) {
  const fs::path plain = home_ / "plain";
  Write(plain / ".gitignore", "*\n");
  Write(plain / ".gitattributes", "* text eol=crlf\n");
  Write(plain / "a.c", "one\r\ntwo\n");
  Write(plain / "dir/b.o", "b\n");
  const auto first = Take(plain);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->commit, "");
  EXPECT_THAT(
      Files(*first),
      UnorderedElementsAre(Pair("100644 .gitignore", "*\n"),
                           Pair("100644 .gitattributes", "* text eol=crlf\n"),
                           Pair("100644 a.c", "one\r\ntwo\n"), Pair("100644 dir/b.o", "b\n")));
  Write(plain / "a.c", "three\n");
  fs::remove(plain / "dir/b.o");
  const auto second = Take(plain);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(Files(*second).size(), 3u);
  EXPECT_EQ(Files(*second).at("100644 a.c"), "three\n");
  EXPECT_FALSE(fs::exists(plain / ".git"));
}

TEST_F(SnapshotTest, WhatAKilledGitLeftNeitherStaysNorHinders) {
  Write(home_ / "plain/a.c", "a\n");
  ASSERT_TRUE(Take(home_ / "plain").ok());
  const fs::path repository =
      DirectoryCache::Open(home_ / "cache", home_ / "plain", 1 << 30)->repository();
  Write(repository / "index.lock", "");
  Write(repository / "objects/pack/tmp_pack_x", "half");
  Write(home_ / "plain/b.c", "b\n");
  const auto snapshot = Take(home_ / "plain");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(Files(*snapshot).size(), 2u);
  EXPECT_FALSE(fs::exists(repository / "objects/pack/tmp_pack_x"));
}

TEST_F(SnapshotTest, ADirectoryThatTheRepositoryAroundItIgnoresStandsForItself) {
  const GitRepository around(home_ / "home");
  around.Write(".gitignore", "/linux\n");
  around.Write("linux/a.c", "a\n");
  around.Commit();
  around.Git({"rm", "-q", "--cached", "linux/a.c"});
  around.Git({"commit", "-q", "-m", "gone"});
  const auto snapshot = Take(around.folder() / "linux");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_THAT(Files(*snapshot), ElementsAre(Pair("100644 a.c", "a\n")));
}

TEST_F(SnapshotTest, ARepositoryOfAnotherHashIsSentByItsFiles) {
  const GitRepository work(home_ / "work", {"--object-format=sha256"});
  work.Write(".gitignore", "*.o\n");
  work.Write("a.c", "a\n");
  work.Write("a.o", "o\n");
  const auto snapshot = Take(work.folder());
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->tree.size(), 40u);
  EXPECT_EQ(Files(*snapshot).size(), 2u);
}

TEST_F(SnapshotTest, ARepositoryInsideIsNotPartOfTheTree) {
  const GitRepository work(home_ / "work");
  work.Write("a.c", "a\n");
  const GitRepository inner(home_ / "work/inner");
  inner.Write("b.c", "b\n");
  inner.Commit();
  const auto snapshot = Take(work.folder());
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_THAT(Files(*snapshot),
              UnorderedElementsAre(Pair("100644 a.c", "a\n"), Pair("160000 inner", "")));
}

TEST_F(SnapshotTest, NothingToSendIsSaid) {
  fs::create_directories(home_ / "plain/empty");
  const auto snapshot = Take(home_ / "plain");
  EXPECT_TRUE(absl::IsFailedPrecondition(snapshot.status()));
  EXPECT_THAT(std::string(snapshot.status().message()), HasSubstr("no file"));
}

TEST_F(SnapshotTest, WhatIsNotTheTopOfTheProjectIsRefusedUnread) {
  const GitRepository work(home_ / "work");
  work.Write("Makefile", "VERSION = 6\n");
  work.Write("init/main.c", "\n");
  work.Write("drivers/Makefile", "\n");
  work.Commit();
  project_ = Linux();
  work.Write("new.c", "not committed\n");
  Write(home_ / "plain/letter.txt", "private\n");
  for (const fs::path& directory : {work.folder(), home_ / "plain"}) {
    const absl::Status status = Take(directory).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("not the top of a Linux source"));
  }
  EXPECT_THAT(std::string(Take(work.folder(), "HEAD").status().message()),
              HasSubstr("there is no kernel/fork.c"));
  EXPECT_FALSE(HasReadFiles());
  work.Write("kernel/fork.c", "\n");
  work.Commit();
  EXPECT_TRUE(Take(work.folder(), "HEAD").ok());
  work.Write("new.c", "changed\n");
  EXPECT_TRUE(Take(work.folder()).ok());
  EXPECT_TRUE(HasReadFiles());
  EXPECT_THAT(std::string(Take(work.folder() / "drivers").status().message()),
              HasSubstr("did you mean " + work.folder().string() + "?"));
}

TEST_F(SnapshotTest, HugeFilesAreRefusedUnreadAndLargeOnesNamed) {
  const GitRepository work(home_ / "work");
  work.Write(".gitignore", "*.o\n");
  work.Write("a.c", "a\n");
  work.Write("old.bin", "");
  work.Commit();
  work.Write("disk.img", "");
  work.Write("disk.o", "");
  fs::resize_file(work.folder() / "disk.img", 70'000'000);
  fs::resize_file(work.folder() / "disk.o", std::int64_t{3} << 30);
  const auto large = Take(work.folder());
  ASSERT_TRUE(large.ok()) << large.status();
  ASSERT_EQ(large->large_files.size(), 1u);
  EXPECT_EQ(large->large_files[0].path, "disk.img");
  EXPECT_EQ(large->large_files[0].size_bytes, 70'000'000);
  fs::resize_file(work.folder() / "disk.img", std::int64_t{3} << 30);
  const absl::Status huge = Take(work.folder()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(huge));
  EXPECT_THAT(std::string(huge.message()), HasSubstr("disk.img has 3072 MiB"));
  EXPECT_THAT(std::string(huge.message()), HasSubstr(".git/info/exclude"));
  fs::remove_all(work.folder() / ".git");
  EXPECT_THAT(std::string(Take(work.folder()).status().message()), HasSubstr("disk."));
}

TEST_F(SnapshotTest, WhatCannotBeReadIsNamedAndNotLeftOut) {
  // Root may read everything.
  const bool is_root = ::geteuid() == 0;
  constexpr uid_t kNobody = 65534;
  const std::string home = ::getenv("HOME") != nullptr ? ::getenv("HOME") : "";
  ::setenv("HOME", home_.c_str(), 1);
  if (is_root) {
    ASSERT_EQ(::chown(home_.c_str(), kNobody, -1), 0);
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const GitRepository work(home_ / "work");
  work.Write("a.c", "a\n");
  Write(home_ / "plain/a.c", "a\n");
  std::vector<absl::Status> refused;
  for (const fs::path& directory : {work.folder(), home_ / "plain"}) {
    Write(directory / "secret.c", "s\n");
    ::chmod((directory / "secret.c").c_str(), 0);
    refused.push_back(Take(directory).status());
    fs::remove(directory / "secret.c");
    Write(directory / "secrets/b.c", "b\n");
    ::chmod((directory / "secrets").c_str(), 0);
    refused.push_back(Take(directory).status());
    ::chmod((directory / "secrets").c_str(), 0700);
  }
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ::setenv("HOME", home.c_str(), 1);
  for (const absl::Status& status : refused) {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("secret"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("make it readable"));
  }
}

TEST_F(SnapshotTest, EnvironmentOfAHookDoesNotLeadElsewhere) {
  const GitRepository work(home_ / "work");
  work.Write("a.c", "a\n");
  const std::string tree = work.Commit();
  ::setenv("GIT_DIR", "/nowhere", 1);
  ::setenv("GIT_INDEX_FILE", "/nowhere/index", 1);
  const auto snapshot = Take(work.folder());
  ::unsetenv("GIT_DIR");
  ::unsetenv("GIT_INDEX_FILE");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(snapshot->tree, tree);
}

TEST_F(SnapshotTest, IsStopped) {
  const GitRepository work(home_ / "work");
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(Take(work.folder(), "", stop.get_token()).status()));
}

}  // namespace
}  // namespace kdbg::client
