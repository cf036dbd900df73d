#include "server/source/seed_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "tests/support/fake_clock.h"
#include "tests/support/tarball.h"
#include "tests/unit/source/temp_dir.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

class SeedStoreTest : public TempDirTest {
 protected:
  SeedStoreTest() {
    std::vector<state::Migration> all;
    for (const auto& some : {Workspaces::Migrations(), SeedStore::Migrations()}) {
      all.insert(all.end(), some.begin(), some.end());
    }
    database_ = *state::Database::Open(directory_ / "kdbg.db", all);
    objects_ = *ObjectDatabase::Open(directory_ / "objects.git");
    workspaces_ = *Workspaces::Open(directory_ / "workspaces", *database_, *objects_, clock_);
    Reopen();
  }
  void Reopen() { seeds_ = *SeedStore::Open(directory_ / "seeds", *database_, *objects_, clock_); }
  std::string Tree(std::string_view version) {
    const UniqueFd fd = OpenFile(WriteFile("in.tar", SmallLinuxTarball(version)));
    return objects_->ImportArchive(fd, version, {}, nullptr, {})->tree;
  }
  // What the service built of `tree`.
  void KeepSeedOf(const std::string& tree, std::string_view object = "object") {
    auto lease = *workspaces_->Acquire("service", "trusted");
    ASSERT_TRUE(lease.Checkout(tree).ok());
    WriteFile(fs::relative(lease.build_dir(), directory_) / "init/main.o", object);
    ASSERT_TRUE(seeds_->Keep("tiny", lease, {}).ok());
    EXPECT_TRUE(fs::is_empty(lease.build_dir()));
    clock_.Advance(absl::Seconds(1));
  }

  FakeClock clock_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<ObjectDatabase> objects_;
  std::unique_ptr<Workspaces> workspaces_;
  std::unique_ptr<SeedStore> seeds_;
};

TEST_F(SeedStoreTest, AWorkspaceStartsWithItsObjectsAndItsTimeStamps) {
  const std::string tree = Tree("6.1.1");
  KeepSeedOf(tree);
  Reopen();
  const fs::path seed = directory_ / "seeds" / (*seeds_->List())[0].id;
  auto lease = *workspaces_->Acquire("alice", "linux");
  EXPECT_EQ(*seeds_->Plant("tiny", tree, lease, {}), tree);
  EXPECT_EQ(*lease.tree(), tree);
  EXPECT_EQ(fs::last_write_time(lease.source_dir() / "init/main.c"),
            fs::last_write_time(seed / "src/init/main.c"));
  EXPECT_EQ(fs::last_write_time(lease.build_dir() / "init/main.o"),
            fs::last_write_time(seed / "build/init/main.o"));
  // Its own: writing to one leaves the other.
  EXPECT_FALSE(fs::equivalent(lease.build_dir() / "init/main.o", seed / "build/init/main.o"));
}

TEST_F(SeedStoreTest, NothingInItRunsAsItsOwner) {
  const std::string tree = Tree("6.1.1");
  auto from = *workspaces_->Acquire("service", "trusted");
  ASSERT_TRUE(from.Checkout(tree).ok());
  fs::permissions(WriteFile(fs::relative(from.build_dir(), directory_) / "tool", "x"),
                  fs::perms(06755));
  ASSERT_TRUE(seeds_->Keep("tiny", from, {}).ok());
  auto lease = *workspaces_->Acquire("alice", "linux");
  ASSERT_TRUE(seeds_->Plant("tiny", tree, lease, {}).ok());
  EXPECT_EQ(fs::status(lease.build_dir() / "tool").permissions(), fs::perms(0755));
}

TEST_F(SeedStoreTest, OnlyWhatDiffersIsNewerThanTheObjects) {
  const std::string old_tree = Tree("6.1.1");
  const std::string new_tree = Tree("6.1.2");
  KeepSeedOf(old_tree);
  auto lease = *workspaces_->Acquire("alice", "linux");
  ASSERT_EQ(*seeds_->Plant("tiny", new_tree, lease, {}), old_tree);
  ASSERT_TRUE(lease.Checkout(new_tree).ok());
  const auto object = fs::last_write_time(lease.build_dir() / "init/main.o");
  EXPECT_LT(fs::last_write_time(lease.source_dir() / "init/main.c"), object);
  EXPECT_GE(fs::last_write_time(lease.source_dir() / "Makefile"), object);
  EXPECT_THAT(*kdbg::ReadFile(lease.source_dir() / "Makefile"),
              ::testing::HasSubstr("SUBLEVEL = 2"));
  // The seed's own file is another one.
  const fs::path seed = directory_ / "seeds" / (*seeds_->List())[0].id;
  EXPECT_THAT(*kdbg::ReadFile(seed / "src/Makefile"), ::testing::HasSubstr("SUBLEVEL = 1"));
}

TEST_F(SeedStoreTest, TheNearestTreeIsTakenAndNoOtherKey) {
  const std::string one = Tree("6.1.1");
  const std::string two = Tree("6.1.2");
  KeepSeedOf(one);
  KeepSeedOf(two);
  auto lease = *workspaces_->Acquire("alice", "linux");
  EXPECT_EQ(*seeds_->Plant("tiny", one, lease, {}), one);
  EXPECT_EQ(*seeds_->Plant("tiny", two, lease, {}), two);
  EXPECT_TRUE(absl::IsNotFound(seeds_->Plant("defconfig", two, lease, {}).status()));
}

TEST_F(SeedStoreTest, ANewerSeedOfTheSameTreeReplacesTheOld) {
  const std::string tree = Tree("6.1.1");
  KeepSeedOf(tree, "old");
  KeepSeedOf(tree, "new");
  EXPECT_EQ(seeds_->List()->size(), 1u);
  auto lease = *workspaces_->Acquire("alice", "linux");
  ASSERT_TRUE(seeds_->Plant("tiny", tree, lease, {}).ok());
  EXPECT_EQ(*kdbg::ReadFile(lease.build_dir() / "init/main.o"), "new");
}

TEST_F(SeedStoreTest, APlantingThatIsStoppedLeavesAnEmptyWorkspace) {
  const std::string tree = Tree("6.1.1");
  KeepSeedOf(tree);
  auto lease = *workspaces_->Acquire("alice", "linux");
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(absl::IsCancelled(seeds_->Plant("tiny", tree, lease, stop.get_token()).status()));
  EXPECT_EQ(*lease.tree(), "");
  EXPECT_TRUE(fs::is_empty(lease.build_dir()));
  EXPECT_TRUE(fs::is_empty(lease.source_dir()));
  ASSERT_TRUE(lease.Checkout(tree).ok());
}

TEST_F(SeedStoreTest, WhatNoRecordNamesIsGoneAfterARestart) {
  KeepSeedOf(Tree("6.1.1"));
  fs::create_directories(directory_ / "seeds/seed-cut-off/build");
  Reopen();
  EXPECT_FALSE(fs::exists(directory_ / "seeds/seed-cut-off"));
  ASSERT_EQ(seeds_->List()->size(), 1u);
  const std::string id = (*seeds_->List())[0].id;
  ASSERT_TRUE(seeds_->Delete(id).ok());
  ASSERT_TRUE(seeds_->Delete(id).ok());
  EXPECT_FALSE(fs::exists(directory_ / "seeds" / id));
}

}  // namespace
}  // namespace kdbg::source
