#include "server/source/object_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "server/source/git.h"
#include "tests/support/tarball.h"
#include "tests/unit/source/temp_dir.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ObjectDatabaseTest : public TempDirTest {
 protected:
  ObjectDatabaseTest() {
    Reopen();
    fs::create_directory(work_);
  }

  void Reopen() {
    auto objects = ObjectDatabase::Open(directory_ / "objects.git");
    ASSERT_TRUE(objects.ok()) << objects.status();
    objects_ = *std::move(objects);
  }
  absl::StatusOr<ImportedTree> Import(std::string_view bytes, std::string_view id = "s-1") {
    const UniqueFd fd = OpenFile(WriteFile("in.tar", bytes));
    return objects_->ImportArchive(fd, id, {}, nullptr, {});
  }
  absl::Status Checkout(std::string_view tree, WorkTreeTrust trust = WorkTreeTrust::kAsIndexed) {
    return objects_->Checkout(tree, directory_ / "index", work_, trust, {});
  }
  // Files of the repository that should not be there once nothing runs.
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(directory_ / "objects.git")) {
      const std::string name = entry.path().filename();
      if (name.starts_with("tmp_") || name.starts_with("fast_import_crash") ||
          name.ends_with(".pack") || name.ends_with(".lock")) {
        found.push_back(name);
      }
    }
    return found;
  }
  std::map<std::string, std::string> WorkFiles() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(work_)) {
      const std::string name = entry.path().lexically_relative(work_);
      if (entry.is_symlink()) {
        files[name] = "-> " + fs::read_symlink(entry.path()).string();
      } else if (entry.is_regular_file()) {
        files[name] = *kdbg::ReadFile(entry.path());
      }
    }
    return files;
  }

  const fs::path work_ = directory_ / "work";
  std::unique_ptr<ObjectDatabase> objects_;
};

TEST_F(ObjectDatabaseTest, ImportsATarballAndStripsItsTopFolder) {
  const auto imported = Import(SmallLinuxTarball("6.1.170"));
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_TRUE(IsObjectId(imported->tree));
  EXPECT_EQ(imported->total.files, 7);
  EXPECT_TRUE(objects_->Has(imported->tree));
  EXPECT_EQ(*objects_->ReadFile(imported->tree, "init/main.c"), "void start_kernel(void) {}\n");
  EXPECT_THAT(*objects_->Kept(), ElementsAre("s-1"));
}

TEST_F(ObjectDatabaseTest, TakesFilesThatTheArchivesOwnGitignoreNames) {
  const auto imported = Import(SmallLinuxTarball("6.1.170"));
  EXPECT_EQ(*objects_->ReadFile(imported->tree, ".gitignore"), "*\n");
  EXPECT_TRUE(objects_->ReadFile(imported->tree, "Makefile").ok());
}

TEST_F(ObjectDatabaseTest, EqualContentIsOneTreeWhateverThePacking) {
  const auto xz = Import(SmallLinuxTarball("6.1.170", Compression::kXz), "s-1");
  const auto gz = Import(SmallLinuxTarball("6.1.170", Compression::kGzip), "s-2");
  ASSERT_TRUE(xz.ok() && gz.ok());
  EXPECT_EQ(xz->tree, gz->tree);
}

TEST_F(ObjectDatabaseTest, KeepsModesLinksAndHardlinksAsCopies) {
  const auto imported = Import(Tarball()
                                   .File("t/run", "#!/bin/sh\n", 0755)
                                   .File("t/data", "x", 0600)
                                   .Hardlink("t/copy", "t/run")
                                   .Symlink("t/link", "run")
                                   .File("t/od\"d\\na\nme", "y")
                                   .File("t/empty", "")
                                   .Bytes());
  ASSERT_TRUE(imported.ok()) << imported.status();
  ASSERT_TRUE(Checkout(imported->tree).ok());
  EXPECT_EQ(WorkFiles(), (std::map<std::string, std::string>{{"run", "#!/bin/sh\n"},
                                                             {"data", "x"},
                                                             {"copy", "#!/bin/sh\n"},
                                                             {"link", "-> run"},
                                                             {"od\"d\\na\nme", "y"},
                                                             {"empty", ""}}));
  EXPECT_EQ(fs::hard_link_count(work_ / "copy"), 1u);
  struct stat status {};
  ASSERT_EQ(::stat((work_ / "copy").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0755u);
  ASSERT_EQ(::stat((work_ / "data").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST_F(ObjectDatabaseTest, AnUntrustedGitattributesChangesNoByte) {
  const auto imported = Import(Tarball()
                                   .File("t/.gitattributes", "* text eol=crlf ident filter=evil\n")
                                   .File("t/a.c", "$Id$\nline\r\nline\n")
                                   .Bytes());
  ASSERT_TRUE(Checkout(imported->tree).ok());
  EXPECT_EQ(WorkFiles().at("a.c"), "$Id$\nline\r\nline\n");
}

TEST_F(ObjectDatabaseTest, CheckoutIsReadableForOthersWhateverOurUmask) {
  const mode_t before = ::umask(0077);
  const auto imported = Import(SmallLinuxTarball("6.1.170"));
  EXPECT_TRUE(Checkout(imported->tree).ok());
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat((work_ / "Makefile").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST_F(ObjectDatabaseTest, AFailedImportLeavesNothing) {
  const std::string good = SmallLinuxTarball("6.1.170", Compression::kNone);
  const std::string bad[] = {
      good.substr(0, good.size() / 2),
      "no tarball",
      Tarball().File("t/a", std::string(300'000, 'a')).File("../b", "x").Bytes(),
  };
  for (const std::string& bytes : bad) {
    const auto imported = Import(bytes);
    EXPECT_EQ(imported.status().code(), absl::StatusCode::kInvalidArgument) << imported.status();
    EXPECT_THAT(Leftovers(), ElementsAre());
    EXPECT_THAT(*objects_->Kept(), ElementsAre());
  }
  EXPECT_TRUE(Import(good).ok());
}

TEST_F(ObjectDatabaseTest, AStoppedImportLeavesNothing) {
  Tarball tarball;
  for (int i = 0; i < 10'000; ++i) tarball.File("t/" + std::to_string(i), std::to_string(i));
  const UniqueFd fd = OpenFile(WriteFile("big.tar", tarball.Bytes()));
  std::stop_source stop;
  const auto imported = objects_->ImportArchive(
      fd, "s-1", {}, [&](const ImportProgress&) { stop.request_stop(); }, stop.get_token());
  EXPECT_EQ(imported.status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(Leftovers(), ElementsAre());
  EXPECT_THAT(*objects_->Kept(), ElementsAre());
}

TEST_F(ObjectDatabaseTest, OpenRemovesWhatACrashLeft) {
  ASSERT_TRUE(Import(SmallLinuxTarball("6.1.170")).ok());
  WriteFile("objects.git/objects/pack/tmp_pack_AbCdEf", "half a pack");
  WriteFile("objects.git/fast_import_crash_123", "trace");
  WriteFile("objects.git/HEAD.lock", "");
  WriteFile("objects.git/refs/kdbg/s-1.lock", "");
  Reopen();
  EXPECT_EQ(Leftovers().size(), 1u);  // the pack of the good import
  EXPECT_THAT(*objects_->Kept(), ElementsAre("s-1"));
}

TEST_F(ObjectDatabaseTest, CheckoutTouchesOnlyWhatDiffers) {
  const auto one = Import(Tarball().File("t/a", "same").File("t/b", "old").Bytes(), "s-1");
  const auto two =
      Import(Tarball().File("t/a", "same").File("t/b", "new").File("t/c", "more").Bytes(), "s-2");
  ASSERT_TRUE(Checkout(one->tree).ok());
  const timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
  struct stat before {};
  ASSERT_EQ(::stat((work_ / "a").c_str(), &before), 0);
  ASSERT_EQ(::utimensat(AT_FDCWD, (work_ / "b").c_str(), old, 0), 0);
  ASSERT_TRUE(Checkout(two->tree).ok());
  struct stat after {};
  ASSERT_EQ(::stat((work_ / "a").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  EXPECT_EQ(WorkFiles(),
            (std::map<std::string, std::string>{{"a", "same"}, {"b", "new"}, {"c", "more"}}));
  ASSERT_TRUE(Checkout(one->tree).ok());
  EXPECT_EQ(WorkFiles(), (std::map<std::string, std::string>{{"a", "same"}, {"b", "old"}}));
}

TEST_F(ObjectDatabaseTest, ACheckoutThatWasCutOffIsMadeGood) {
  const auto tree = Import(Tarball().File("t/a", "a").File("t/b", "b").Bytes())->tree;
  ASSERT_TRUE(Checkout(tree).ok());
  // As if a checkout of another tree had got half way.
  WriteFile("index.unfinished", "");
  WriteFile("index.lock", "half an index");
  WriteFile("work/a", "of the other tree");
  WriteFile("work/new/file", "of the other tree");
  ASSERT_TRUE(Checkout(tree).ok());
  EXPECT_EQ(WorkFiles(), (std::map<std::string, std::string>{{"a", "a"}, {"b", "b"}}));
  EXPECT_FALSE(fs::exists(directory_ / "index.unfinished"));
}

TEST_F(ObjectDatabaseTest, ADamagedIndexMeansStartingOver) {
  const auto tree = Import(Tarball().File("t/a", "a").File("t/b", "b").Bytes())->tree;
  ASSERT_TRUE(Checkout(tree).ok());
  for (const std::string& index : {std::string("DIRC"), std::string(4096, '\0')}) {
    WriteFile("index", index);
    WriteFile("work/stray", "x");
    ASSERT_TRUE(Checkout(tree).ok());
    EXPECT_EQ(WorkFiles(), (std::map<std::string, std::string>{{"a", "a"}, {"b", "b"}}));
  }
}

TEST_F(ObjectDatabaseTest, AWorkTreeNobodyTrustsIsLookedAtFileByFile) {
  const auto tree = Import(Tarball().File("t/a", "a").File("t/b", "b").Bytes())->tree;
  ASSERT_TRUE(Checkout(tree).ok());
  WriteFile("work/a", "");  // a power cut took the bytes
  ASSERT_TRUE(Checkout(tree, WorkTreeTrust::kLookAtEveryFile).ok());
  EXPECT_EQ(WorkFiles().at("a"), "a");
}

TEST_F(ObjectDatabaseTest, AMissingTreeIsNotFoundAndTheWorkTreeStays) {
  const auto tree = Import(Tarball().File("t/a", "a").File("t/b", "b").Bytes())->tree;
  ASSERT_TRUE(Checkout(tree).ok());
  EXPECT_EQ(Checkout(std::string(40, '1')).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Checkout("HEAD").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(WorkFiles().size(), 2u);
}

TEST_F(ObjectDatabaseTest, ReadsManyFilesThroughOneProcess) {
  const auto tree = Import(Tarball()
                               .File("t/a", "one\ntwo\n")
                               .File("t/dir/b", std::string(200'000, 'b'))
                               .File("t/empty", "")
                               .Symlink("t/l", "a")
                               .Bytes())
                        ->tree;
  TreeReader reader = *objects_->OpenTree(tree);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*reader.Read("a"), "one\ntwo\n");
    EXPECT_EQ(reader.Read("dir/b", 1000).status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(reader.Read("dir/b")->size(), 200'000u);
    EXPECT_EQ(*reader.Read("empty"), "");
    EXPECT_EQ(*reader.Read("l"), "a");
    for (const char* none :
         {"none", "dir", "dir/", "a/b", "", "../a", "./a", "/etc/passwd", "a\nb", "dir//b"}) {
      EXPECT_EQ(reader.Read(none).status().code(), absl::StatusCode::kNotFound) << none;
    }
  }
  EXPECT_EQ(objects_->OpenTree("HEAD").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ObjectDatabaseTest, GarbageCollectionKeepsWhatIsKept) {
  const auto kept = Import(Tarball().File("t/a", "kept").Bytes(), "s-1")->tree;
  const auto gone = Import(Tarball().File("t/a", "gone").Bytes(), "s-2")->tree;
  ASSERT_TRUE(objects_->Keep("s-3", kept).ok());
  ASSERT_TRUE(objects_->Forget("s-1").ok());
  ASSERT_TRUE(objects_->Forget("s-2").ok());
  ASSERT_TRUE(objects_->Forget("s-2").ok());
  const absl::Status status = objects_->CollectGarbage({});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(*objects_->ReadFile(kept, "a"), "kept");
  EXPECT_FALSE(objects_->Has(gone));
}

TEST_F(ObjectDatabaseTest, GarbageCollectionCompressesWhatImportsStored) {
  ASSERT_TRUE(Import(Tarball().File("t/a", std::string(1'000'000, 'a')).Bytes()).ok());
  const auto size = [this] {
    std::uintmax_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory_ / "objects.git")) {
      if (entry.is_regular_file()) bytes += entry.file_size();
    }
    return bytes;
  };
  EXPECT_GT(size(), 1'000'000u);
  ASSERT_TRUE(objects_->CollectGarbage({}).ok());
  EXPECT_LT(size(), 100'000u);
}

TEST_F(ObjectDatabaseTest, GarbageCollectionThatIsStoppedLosesNothingAndHasAnotherTurn) {
  const auto kept = Import(Tarball().File("t/a", std::string(1'000'000, 'a')).Bytes())->tree;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(objects_->CollectGarbage(stop.get_token()).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(objects_->ReadFile(kept, "a")->size(), 1'000'000u);
  ASSERT_TRUE(objects_->CollectGarbage({}).ok());
  EXPECT_EQ(objects_->ReadFile(kept, "a")->size(), 1'000'000u);
}

TEST_F(ObjectDatabaseTest, AGitWithoutRoomIsAFullDisk) {
  for (const char* text : {"fatal: write error: No space left on device",
                           "fatal: sha1 file 'tmp_pack_x' write error. Out of diskspace"}) {
    const absl::Status status = Git::Failure("git", {.code = 128, .signal = 0}, text);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(HasReason(status, Reason::kDiskFull));
  }
  EXPECT_EQ(Git::Failure("git", {.code = 1, .signal = 0}, "fatal: bad object").code(),
            absl::StatusCode::kInternal);
}

TEST_F(ObjectDatabaseTest, ImportsOfSeveralThreadsDoNotMix) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([this, i] {
      const std::string name = std::to_string(i);
      const UniqueFd fd =
          OpenFile(WriteFile(name + ".tar", Tarball().File("t/" + name, name).Bytes()));
      const auto imported = objects_->ImportArchive(fd, "s-" + name, {}, nullptr, {});
      ASSERT_TRUE(imported.ok()) << imported.status();
      EXPECT_EQ(*objects_->ReadFile(imported->tree, name), name);
    });
  }
}

TEST_F(ObjectDatabaseTest, NothingOfTheUsersGitConfigurationCounts) {
  WriteFile("home/.gitconfig", "[core]\n\tautocrlf = true\n\tfsmonitor = /bin/false\n");
  ::setenv("HOME", (directory_ / "home").c_str(), 1);
  ::setenv("GIT_CONFIG_GLOBAL", (directory_ / "home/.gitconfig").c_str(), 1);
  const auto tree = Import(Tarball().File("t/a", "x\n").File("t/b", "b").Bytes())->tree;
  EXPECT_TRUE(Checkout(tree).ok());
  ::unsetenv("GIT_CONFIG_GLOBAL");
  EXPECT_EQ(WorkFiles().at("a"), "x\n");
}

}  // namespace
}  // namespace kdbg::source
