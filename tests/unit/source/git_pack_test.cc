// Work trees as git packs: what is known to whom, what of a pack is taken, and what somebody who
// sends one on purpose can get at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "tests/support/git_repository.h"
#include "tests/support/tarball.h"
#include "tests/unit/source/catalog_fixture.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class GitPackTest : public CatalogFixture {
 protected:
  struct Sent {
    std::string pack = {};
    std::string upload = {};
    std::vector<std::string> bases = {};
  };
  absl::StatusOr<SourceRecord> Send(const std::string& tree, const Sent& sent,
                                    std::string_view owner = "alice") {
    SourceRequest request;
    request.owner = owner;
    request.origin.kind = OriginKind::kGitPack;
    request.origin.text = "/home/alice/linux";
    request.origin.tree = tree;
    request.origin.upload = sent.upload;
    request.pack = sent.pack;
    for (const std::string& base : sent.bases) {
      request.delta_bases.push_back(*ObjectId::FromHex(base));
    }
    return catalog_->Create(request);
  }
  // A small Linux tree of `owner`, READY.
  std::string SendWhole(std::string_view owner = "alice") {
    WriteLinux();
    const std::string tree = repository_.Commit();
    const auto source = Send(tree, {.pack = repository_.PackOfDifference(tree, "")}, owner);
    EXPECT_TRUE(source.ok()) << source.status();
    return tree;
  }
  void WriteLinux() {
    repository_.Write("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n");
    repository_.Write("kernel/fork.c", std::string(3000, 'f') + "\n");
    repository_.Write("init/main.c", Lines(2000));
    repository_.Write("scripts/run", "#!/bin/sh\n");
    fs::permissions(repository_.folder() / "scripts/run", fs::perms(0755));
    fs::create_symlink("../Makefile", repository_.folder() / "scripts/link");
  }
  // Text that a delta makes short and compression does not.
  static std::string Lines(int count) {
    std::string text;
    for (unsigned i = 0; i < static_cast<unsigned>(count); ++i) {
      text += std::to_string(i * 2654435761U) + "\n";
    }
    return text;
  }
  std::vector<std::string> Known(const std::vector<std::string>& ids,
                                 std::string_view owner = "alice") {
    std::vector<ObjectId> asked;
    for (const std::string& id : ids) asked.push_back(*ObjectId::FromHex(id));
    const auto known = catalog_->KnownTo(owner, asked);
    EXPECT_TRUE(known.ok()) << known.status();
    std::vector<std::string> names;
    for (const ObjectId& id : *known) names.push_back(id.Hex());
    return names;
  }
  std::string Blob(const std::string& path) const {
    return repository_.Git({"rev-parse", "HEAD:" + path});
  }
  // What a quarantine that nobody holds any more must not leave.
  std::vector<std::string> Leftovers() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(directory_ / "objects.git/incoming")) {
      found.push_back(entry.path().filename());
    }
    return found;
  }

  GitRepository repository_{directory_ / "work"};
};

TEST_F(GitPackTest, APackBecomesAReadySourceAtOnce) {
  WriteLinux();
  const std::string tree = repository_.Commit();
  const auto source = Send(tree, {.pack = repository_.PackOfDifference(tree, "")});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->state, SourceState::kReady);
  EXPECT_EQ(source->tree, tree);
  EXPECT_EQ(source->project, "linux");
  EXPECT_EQ(source->project_version, "6.1.7");
  EXPECT_EQ(source->files_imported, 5);
  EXPECT_GT(source->bytes_imported, 10'000);
  EXPECT_EQ(*objects_->ReadFile(tree, "init/main.c"), Lines(2000));
  EXPECT_EQ(catalog_->Get(source->id)->origin.text, "/home/alice/linux");
  EXPECT_THAT(Leftovers(), IsEmpty());
}

TEST_F(GitPackTest, AnUploadedPackIsImportedAlsoAfterARestart) {
  WriteLinux();
  const std::string tree = repository_.Commit();
  const std::string upload = Upload(repository_.PackOfDifference(tree, ""));
  const auto source = Send(tree, {.upload = upload});
  ASSERT_TRUE(source.ok()) << source.status();
  Close();  // whether or not it was through with it
  Reopen();
  std::optional<SourceRecord> record;
  if (catalog_->Get(source->id)->state == SourceState::kImporting) Finished(source->id);
  EXPECT_EQ(catalog_->Get(source->id)->state, SourceState::kReady);
  EXPECT_EQ(catalog_->Get(source->id)->tree, tree);
  EXPECT_EQ(uploads_->Get(upload).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(GitPackTest, OnlyTheDifferenceTravelsAndBuildsOnWhatIsKnown) {
  const std::string first = SendWhole();
  const std::string old_blob = Blob("init/main.c");
  const std::string old_folder = repository_.Git({"rev-parse", "HEAD:init"});
  repository_.Write("init/main.c", Lines(2000) + "one line more\n");
  const std::string second = repository_.Commit();
  const std::string pack = repository_.PackOfDifference(second, first);
  EXPECT_LT(pack.size(), 1000u);
  const auto source = Send(second, {.pack = pack, .bases = {first, old_folder, old_blob}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(*objects_->ReadFile(second, "init/main.c"), Lines(2000) + "one line more\n");
  EXPECT_EQ(source->files_imported, 5);
}

TEST_F(GitPackTest, FilesThatGitReadsItselfNeedNotComeAgain) {
  repository_.Write(".gitattributes", "*.c diff=cpp\n");
  repository_.Write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = https://x/x\n");
  const std::string first = SendWhole();
  repository_.Write("init/main.c", "changed\n");
  const std::string second = repository_.Commit();
  const auto source =
      Send(second, {.pack = repository_.PackOfDifference(second, first), .bases = {first}});
  ASSERT_TRUE(source.ok()) << source.status();
}

TEST_F(GitPackTest, KnownIsWhatHangsOnOnesOwnSourcesAndEndsWithThem) {
  const std::string tree = SendWhole();
  const std::string blob = Blob("init/main.c");
  const std::string commit = repository_.Git({"rev-parse", "HEAD"});
  const std::string folder = repository_.Git({"rev-parse", "HEAD:init"});
  EXPECT_THAT(Known({blob, commit, tree, folder}), ElementsAre(blob, tree, folder));
  EXPECT_THAT(Known({blob, tree, folder}, "bob"), IsEmpty());
  Reopen();
  EXPECT_THAT(Known({tree, blob}), ElementsAre(tree, blob));
  EXPECT_TRUE(catalog_->Delete(catalog_->List({})->front().id).ok());
  EXPECT_THAT(Known({blob, tree, folder}), IsEmpty());
}

TEST_F(GitPackTest, ATarballsFilesAreKnownToo) {
  Import(SmallLinuxTarball("6.1.170"));
  WriteFile("a", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 170\n");
  const std::string makefile = *objects_->ReadFile(catalog_->List({})->front().tree, "Makefile");
  const std::string id = repository_.AddObject("blob", makefile);
  EXPECT_THAT(Known({id}), ElementsAre(id));
}

TEST_F(GitPackTest, AKnownTreeNeedsNoPackAndNobodyElsesDoes) {
  const std::string tree = SendWhole();
  const std::string folder = repository_.Git({"rev-parse", "HEAD:kernel"});
  const auto again = Send(tree, {});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id, catalog_->List({})->front().id);
  const auto below = Send(folder, {});
  ASSERT_TRUE(below.ok()) << below.status();
  EXPECT_EQ(below->state, SourceState::kReady);
  EXPECT_EQ(below->files_imported, 1);
  const auto by_bob = Send(tree, {}, "bob");
  EXPECT_EQ(by_bob.status().code(), absl::StatusCode::kNotFound) << by_bob.status();
  const auto of_nothing = Send(std::string(40, '1'), {}, "bob");
  EXPECT_EQ(of_nothing.status().code(), by_bob.status().code());
}

TEST_F(GitPackTest, AFileIsNoTree) {
  SendWhole();
  EXPECT_FALSE(Send(Blob("init/main.c"), {}).ok());
}

// ---- Attacks on what others have

TEST_F(GitPackTest, ATreeCannotReferToAnothersFiles) {
  SendWhole("alice");
  const std::string secret = Blob("kernel/fork.c");
  const std::string tree = repository_.AddTree({{"100644 stolen", secret}});
  const auto taken = Send(tree, {.pack = repository_.Pack({tree})}, "bob");
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kFailedPrecondition) << taken.status();
  EXPECT_TRUE(HasReason(taken.status(), Reason::kObjectsMissing));
  // As much is said of an object that is nowhere.
  const std::string nowhere = repository_.AddTree({{"100644 stolen", std::string(40, '1')}});
  const auto same = Send(nowhere, {.pack = repository_.Pack({nowhere})}, "bob");
  EXPECT_EQ(same.status().code(), taken.status().code());
  EXPECT_TRUE(HasReason(same.status(), Reason::kObjectsMissing));
  EXPECT_THAT(Known({tree, nowhere}, "bob"), IsEmpty());
}

TEST_F(GitPackTest, ATreeCannotReferToAnothersFolders) {
  SendWhole("alice");
  const std::string folder = repository_.Git({"rev-parse", "HEAD:kernel"});
  const std::string tree = repository_.AddTree({{"40000 stolen", folder}});
  const auto taken = Send(tree, {.pack = repository_.Pack({tree})}, "bob");
  EXPECT_TRUE(HasReason(taken.status(), Reason::kObjectsMissing)) << taken.status();
}

// A delta that copies all of another owner's file and adds a letter would be a file of one's own.
TEST_F(GitPackTest, ADeltaCannotBuildOnAnothersFile) {
  SendWhole("alice");
  const std::string secret = Blob("kernel/fork.c");
  const std::string content = std::string(3000, 'f') + "\n";
  const std::string pack = PackOfDelta(secret, content.size(), "!");
  const std::string result = repository_.AddObject("blob", content + "!");
  const std::string tree = repository_.AddTree({{"100644 stolen", result}});
  // The tree is sent first, so that nothing is missing but the file.
  for (const std::vector<std::string>& bases :
       {std::vector<std::string>{}, std::vector<std::string>{secret}}) {
    const auto taken = Send(tree, {.pack = pack, .bases = bases}, "bob");
    EXPECT_EQ(taken.status().code(), absl::StatusCode::kFailedPrecondition) << taken.status();
    EXPECT_TRUE(HasReason(taken.status(), Reason::kObjectsMissing)) << taken.status();
    EXPECT_THAT(std::string(taken.status().message()), testing::Not(HasSubstr(secret)));
  }
  // The same by its owner is fine, but for the tree that did not come along.
  const auto own = Send(tree, {.pack = pack, .bases = {secret}}, "alice");
  EXPECT_THAT(std::string(own.status().message()), HasSubstr(tree));
}

TEST_F(GitPackTest, TheSameBytesOfTwoOwnersAreEachOwnersOwn) {
  const std::string tree = SendWhole("alice");
  const auto by_bob = Send(tree, {.pack = repository_.PackOfDifference(tree, "")}, "bob");
  ASSERT_TRUE(by_bob.ok()) << by_bob.status();
  const auto hers = catalog_->List({.owner = "alice"});
  for (const SourceRecord& source : *hers) {
    EXPECT_TRUE(catalog_->Delete(source.id).ok());
  }
  EXPECT_TRUE(objects_->CollectGarbage({}).ok());
  EXPECT_THAT(Known({tree}, "bob"), ElementsAre(tree));
  EXPECT_EQ(*objects_->ReadFile(tree, "scripts/run"), "#!/bin/sh\n");
}

TEST_F(GitPackTest, WhatWasSentAndNotTakenIsGoneAndNotKnown) {
  SendWhole();
  const std::string blob = repository_.AddObject("blob", "sent with a tree that lacks a file");
  const std::string tree =
      repository_.AddTree({{"100644 a", blob}, {"100644 b", std::string(40, '2')}});
  EXPECT_FALSE(Send(tree, {.pack = repository_.Pack({tree, blob})}).ok());
  EXPECT_THAT(Known({tree, blob}), IsEmpty());
  EXPECT_FALSE(objects_->Has(tree));
  EXPECT_THAT(Leftovers(), IsEmpty());
}

// ---- Attacks on the host

TEST_F(GitPackTest, TreesThatWouldHarmAFileSystemAreRefused) {
  const std::string blob = repository_.AddObject("blob", "x\n");
  const std::string folder = repository_.AddTree({{"100644 a", blob}});
  const std::vector<std::vector<GitRepository::Entry>> trees = {
      {{"100644 ..", blob}},
      {{"40000 ..", folder}},
      {{"100644 .", blob}},
      {{"40000 .git", folder}},
      {{"40000 .GIT", folder}},
      {{"40000 .gIt", folder}},
      {{"100644 a/b", blob}},
      {{"100644 ../../etc/passwd", blob}},
      {{"100644 ", blob}},
      {{"120000 a", blob}, {"40000 a", folder}},  // a link and a folder of one name
      {{"100644 a", blob}, {"100644 a.c", blob}, {"40000 a", folder}},
      {{"100644 b", blob}, {"100644 a", blob}},  // out of order
      {{"100600 a", blob}},
      {{"10644 a", blob}},
      {{"60000 a", blob}},
      {{"100644 " + std::string(256, 'n'), blob}},
  };
  for (const auto& entries : trees) {
    const std::string tree = repository_.AddTree(entries);
    const auto taken = Send(tree, {.pack = repository_.Pack({tree, folder, blob})});
    EXPECT_EQ(taken.status().code(), absl::StatusCode::kInvalidArgument)
        << entries.front().mode_and_name << ": " << taken.status();
    EXPECT_FALSE(objects_->Has(tree));
  }
}

TEST_F(GitPackTest, AnEntryOfAnotherKindThanItSaysIsRefused) {
  const std::string blob = repository_.AddObject("blob", "x\n");
  const std::string folder = repository_.AddTree({{"100644 a", blob}});
  for (const GitRepository::Entry& entry :
       {GitRepository::Entry{"40000 b", blob}, GitRepository::Entry{"100644 b", folder}}) {
    const std::string tree = repository_.AddTree({entry});
    const auto taken = Send(tree, {.pack = repository_.Pack({tree, folder, blob})});
    EXPECT_EQ(taken.status().code(), absl::StatusCode::kInvalidArgument) << taken.status();
  }
  // The same against what is known already.
  ASSERT_TRUE(Send(folder, {.pack = repository_.Pack({folder, blob})}).ok());
  const std::string tree = repository_.AddTree({{"100644 b", folder}});
  const auto taken = Send(tree, {.pack = repository_.Pack({tree})});
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kInvalidArgument) << taken.status();
}

TEST_F(GitPackTest, BytesThatAreNoPackAreSaidToBeNone) {
  WriteLinux();
  const std::string tree = repository_.Commit();
  const std::string good = repository_.PackOfDifference(tree, "");
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 0x55);
  const std::string many = std::string("PACK\0\0\0\2\x7f\xff\xff\xff", 12) + good.substr(12);
  for (const std::string& bytes :
       {std::string("hello"), good.substr(0, good.size() / 2), good.substr(0, 12), flipped, many}) {
    const auto taken = Send(tree, {.pack = bytes});
    EXPECT_EQ(taken.status().code(), absl::StatusCode::kInvalidArgument) << taken.status();
    EXPECT_TRUE(HasReason(taken.status(), Reason::kPackInvalid)) << taken.status();
  }
  EXPECT_THAT(Leftovers(), IsEmpty());
}

TEST_F(GitPackTest, CommitsAreNoPartOfASource) {
  WriteLinux();
  const std::string tree = repository_.Commit();
  const std::string commit = repository_.Git({"rev-parse", "HEAD"});
  const auto taken = Send(tree, {.pack = repository_.Pack({commit})});
  EXPECT_TRUE(HasReason(taken.status(), Reason::kPackInvalid)) << taken.status();
}

// 40 folders that each hold the one below ten times: 10^40 files in a pack of 3 KB.
TEST_F(GitPackTest, ABombOfFoldersIsCountedNotUnpacked) {
  const std::string blob = repository_.AddObject("blob", "x\n");
  std::vector<std::string> ids = {blob};
  std::string mode = "100644 ";
  for (int level = 0; level < 40; ++level) {
    std::vector<GitRepository::Entry> entries;
    for (char name = 'a'; name < 'k'; ++name) entries.push_back({mode + name, ids.back()});
    ids.push_back(repository_.AddTree(entries));
    mode = "40000 ";
  }
  const auto taken = Send(ids.back(), {.pack = repository_.Pack(ids)});
  EXPECT_TRUE(HasReason(taken.status(), Reason::kTreeTooLarge)) << taken.status();
  // On top of a part that is small enough to be taken.
  ASSERT_TRUE(Send(ids[5], {.pack = repository_.Pack({ids.begin(), ids.begin() + 6})}).ok());
  const auto rest = Send(ids[9], {.pack = repository_.Pack({ids.begin() + 6, ids.begin() + 10})});
  EXPECT_TRUE(HasReason(rest.status(), Reason::kTreeTooLarge)) << rest.status();
}

TEST_F(GitPackTest, FoldersNestOnlySoDeep) {
  const std::string blob = repository_.AddObject("blob", "x\n");
  std::vector<std::string> ids = {blob, repository_.AddTree({{"100644 f", blob}})};
  for (int level = 0; level < 200; ++level) {
    ids.push_back(repository_.AddTree({{"40000 d", ids.back()}}));
  }
  const auto taken = Send(ids.back(), {.pack = repository_.Pack(ids)});
  EXPECT_TRUE(HasReason(taken.status(), Reason::kTreeTooLarge)) << taken.status();
}

TEST_F(GitPackTest, SubmodulesAreEmptyFoldersAndModesSurvive) {
  WriteLinux();
  repository_.Git({"add", "-A"});
  repository_.Git({"update-index", "--add", "--cacheinfo",
                   "160000," + std::string(40, '3') + ",third-party/lib"});
  const std::string tree = repository_.Git({"write-tree"});
  std::string list =
      tree + "\n" + repository_.Git({"ls-tree", "-r", "-t", "--format=%(objectname)", tree}) + "\n";
  list.erase(list.find(std::string(40, '3')), 41);
  const std::string pack = repository_.Git({"pack-objects", "--stdout", "-q"}, list);
  const auto source = Send(tree, {.pack = pack});
  ASSERT_TRUE(source.ok()) << source.status();
  const fs::path work = directory_ / "checkout";
  fs::create_directory(work);
  ASSERT_TRUE(
      objects_
          ->Checkout(tree, directory_ / "index", work, WorkTreeTrust::kAsIndexed, std::stop_token())
          .ok());
  EXPECT_EQ(fs::status(work / "scripts/run").permissions(), fs::perms(0755));
  EXPECT_EQ(fs::status(work / "init/main.c").permissions(), fs::perms(0644));
  EXPECT_EQ(fs::read_symlink(work / "scripts/link"), "../Makefile");
  EXPECT_TRUE(fs::is_empty(work / "third-party/lib"));
}

TEST_F(GitPackTest, APackDoesNotWaitForATarball) {
  absl::Notification through;
  const Subscription hold = catalog_->Subscribe([&](const SourceRecord& record) {
    if (record.state == SourceState::kImporting && record.files_imported > 0) {
      through.WaitForNotification();
    }
  });
  kdbg::Tarball big;
  for (int i = 0; i < 3000; ++i) big.File("t/" + std::to_string(i), "x");
  const std::string bytes = big.Bytes();
  const auto held = Create(Tarball(bytes, Upload(bytes, "bob")), "bob");
  ASSERT_TRUE(held.ok()) << held.status();
  WriteLinux();
  const std::string tree = repository_.Commit();
  const auto source = Send(tree, {.upload = Upload(repository_.PackOfDifference(tree, ""))});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(Finished(source->id).state, SourceState::kReady);
  EXPECT_EQ(catalog_->Get(held->id)->state, SourceState::kImporting);
  through.Notify();
  EXPECT_EQ(Finished(held->id).state, SourceState::kReady);
}

}  // namespace
}  // namespace kdbg::source
