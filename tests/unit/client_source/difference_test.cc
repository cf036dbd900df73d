#include "client/source/difference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "proto/support/file.h"
#include "tests/support/git_repository.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class DifferenceTest : public ::testing::Test {
 protected:
  DifferenceTest() {
    std::string name = ::testing::TempDir() + "kdbg-difference-XXXXXX";
    home_ = ::mkdtemp(name.data());
    work_.emplace(home_ / "work");
    git_.emplace(work_->folder(), std::vector<std::string>{}, std::stop_token());
    work_->Write("Makefile", "VERSION = 6\n");
    work_->Write("fs/ext4/inode.c", Lines(3000));
    work_->Write("fs/ext4/super.c", "super\n");
    work_->Write("mm/memory.c", "memory\n");
  }
  ~DifferenceTest() override { fs::remove_all(home_); }

  static std::string Lines(unsigned count) {
    std::string text;
    for (unsigned i = 0; i < count; ++i) text += std::to_string(i * 2654435761U) + "\n";
    return text;
  }
  // The other side now has this tree.
  void Have(const std::string& tree) {
    known_.insert(tree);
    const std::string ids = work_->Git({"ls-tree", "-r", "-t", "--format=%(objectname)", tree});
    for (std::size_t at = 0; at < ids.size(); at += 41) known_.insert(ids.substr(at, 40));
  }
  absl::StatusOr<Difference> Find(const std::string& tree, const std::vector<std::string>& bases) {
    questions_ = 0;
    asked_ = 0;
    return FindDifference(*git_, tree, bases, [this](const std::vector<std::string>& ids) {
      ++questions_;
      asked_ += ids.size();
      std::set<std::string> known;
      for (const std::string& id : ids) {
        if (known_.contains(id)) known.insert(id);
      }
      return absl::StatusOr<std::set<std::string>>(known);
    });
  }
  std::string Pack(const Difference& difference) {
    const absl::Status written = WritePack(*git_, difference, home_ / "pack");
    EXPECT_TRUE(written.ok()) << written;
    return *ReadFile(home_ / "pack");
  }
  // A repository that has exactly these objects takes the pack.
  bool IsTakenBy(const std::vector<std::string>& bases, const std::string& pack) {
    const GitRepository other(home_ / "other");
    other.Git({"index-pack", "--stdin"}, work_->Pack(bases));
    other.Git({"index-pack", "--stdin", "--fix-thin"}, pack);
    return true;
  }

  fs::path home_;
  std::optional<GitRepository> work_;
  std::optional<LocalGit> git_;
  std::set<std::string> known_;
  int questions_ = 0;
  std::size_t asked_ = 0;
};

TEST_F(DifferenceTest, ATreeThatIsThereNeedsNothing) {
  const std::string tree = work_->Commit();
  Have(tree);
  const auto difference = Find(tree, {});
  ASSERT_TRUE(difference.ok()) << difference.status();
  EXPECT_EQ(difference->objects, 0u);
  EXPECT_EQ(questions_, 1);
}

TEST_F(DifferenceTest, WhereNothingIsKnownAllGoes) {
  const std::string tree = work_->Commit();
  const auto difference = Find(tree, {"", "not an id"});
  ASSERT_TRUE(difference.ok()) << difference.status();
  EXPECT_EQ(difference->objects, 8u);  // four files, the top and three folders
  EXPECT_THAT(difference->delta_bases, IsEmpty());
  const GitRepository other(home_ / "other");
  other.Git({"index-pack", "--stdin"}, Pack(*difference));
  EXPECT_EQ(other.Git({"cat-file", "blob", tree + ":fs/ext4/super.c"}), "super");
}

TEST_F(DifferenceTest, AnEditTakesOneQuestionAndAFewBytes) {
  const std::string base = work_->Commit();
  Have(base);
  work_->Write("fs/ext4/inode.c", Lines(3000) + "/* one line more */\n");
  const std::string tree = work_->Commit();
  const auto difference = Find(tree, {base});
  ASSERT_TRUE(difference.ok()) << difference.status();
  EXPECT_EQ(questions_, 1);
  EXPECT_EQ(difference->objects, 4u);
  EXPECT_EQ(difference->delta_bases.size(), 4u);
  const std::string pack = Pack(*difference);
  EXPECT_LT(pack.size(), 1000u);
  EXPECT_TRUE(IsTakenBy(difference->delta_bases, pack));
}

TEST_F(DifferenceTest, TheSameDifferenceIsTheSamePack) {
  const std::string base = work_->Commit();
  Have(base);
  work_->Write("fs/ext4/inode.c", "new\n");
  const std::string tree = work_->Commit();
  const auto first = Find(tree, {base});
  const auto second = Find(tree, {base});
  EXPECT_EQ(first->recipe, second->recipe);
  EXPECT_EQ(Pack(*first), Pack(*second));
}

TEST_F(DifferenceTest, WithoutABaseFoldersThatAreThereAreNotEntered) {
  Have(work_->Commit());
  work_->Write("mm/memory.c", "changed\n");
  work_->Write("new/folder/file.c", "new\n");
  const std::string tree = work_->Commit();
  const auto difference = Find(tree, {});
  ASSERT_TRUE(difference.ok()) << difference.status();
  // The top, mm, memory.c, new, new/folder, file.c.
  EXPECT_EQ(difference->objects, 6u);
  EXPECT_EQ(questions_, 4);
  EXPECT_LE(asked_, 1u + 4u + 2u + 1u);
}

TEST_F(DifferenceTest, ABaseThatIsNotReadHereOrNotKnownThereIsNone) {
  const std::string tree = work_->Commit();
  known_.insert(std::string(40, '1'));
  const std::string elsewhere(40, '1');
  const auto unread = Find(tree, {elsewhere});
  ASSERT_TRUE(unread.ok()) << unread.status();
  EXPECT_EQ(unread->objects, 8u);
  EXPECT_THAT(unread->delta_bases, IsEmpty());
  work_->Write("mm/memory.c", "changed\n");
  const auto unknown = Find(work_->Commit(), {tree});
  EXPECT_THAT(unknown->delta_bases, IsEmpty());
  EXPECT_EQ(unknown->objects, 8u);
}

// git's own lists are of the folder it runs in, if that is below the top.
TEST_F(DifferenceTest, AFolderOfARepositoryIsComparedWhole) {
  const std::string base = work_->Commit();
  git_.emplace(work_->folder() / "fs", std::vector<std::string>{}, std::stop_token());
  EXPECT_EQ(Find(base, {})->objects, 8u);
  Have(base);
  work_->Write("mm/memory.c", "changed\n");
  EXPECT_EQ(Find(work_->Commit(), {base})->objects, 3u);
}

TEST_F(DifferenceTest, SubmodulesAreNamedAndNotSent) {
  work_->Git({"add", "-A"});
  work_->Git({"update-index", "--add", "--cacheinfo", "160000," + std::string(40, '3') + ",lib"});
  const auto difference = Find(work_->Git({"write-tree"}), {});
  ASSERT_TRUE(difference.ok()) << difference.status();
  EXPECT_THAT(difference->submodules, ElementsAre("lib"));
  EXPECT_EQ(difference->recipe.find(std::string(40, '3')), std::string::npos);
}

TEST_F(DifferenceTest, APackThatCannotBeMadeIsNotThere) {
  Difference difference;
  difference.recipe = std::string(40, '9') + " gone\n";
  difference.objects = 1;
  EXPECT_FALSE(WritePack(*git_, difference, home_ / "pack").ok());
  EXPECT_FALSE(fs::exists(home_ / "pack"));
  EXPECT_FALSE(fs::exists(home_ / "pack.unfinished"));
}

TEST_F(DifferenceTest, AnAnswerThatFailsIsPassedOn) {
  const auto difference =
      FindDifference(*git_, work_->Commit(), {}, [](const std::vector<std::string>&) {
        return absl::StatusOr<std::set<std::string>>(absl::UnavailableError("gone"));
      });
  EXPECT_TRUE(absl::IsUnavailable(difference.status()));
}

}  // namespace
}  // namespace kdbg::client
