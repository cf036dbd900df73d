#include "server/source/workspace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "server/source/workspace_budget.h"
#include "tests/support/fake_clock.h"
#include "tests/support/tarball.h"
#include "tests/unit/source/temp_dir.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

class WorkspaceTest : public TempDirTest {
 protected:
  WorkspaceTest() {
    database_ = *state::Database::Open(directory_ / "kdbg.db", Workspaces::Migrations());
    objects_ = *ObjectDatabase::Open(directory_ / "objects.git");
    Reopen();
  }
  void Reopen() {
    workspaces_ =
        *Workspaces::Open(directory_ / "workspaces", *database_, *objects_, clock_, remove_tree_);
  }
  std::string Tree(std::string_view version) {
    const UniqueFd fd = OpenFile(WriteFile("in.tar", SmallLinuxTarball(version)));
    return objects_->ImportArchive(fd, version, {}, nullptr, {})->tree;
  }
  absl::Status Sql(std::string_view sql) {
    return database_->Write([&](state::Transaction& t) { return t.Execute(sql).status(); });
  }
  static unsigned Mode(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  }

  FakeClock clock_;
  Workspaces::RemoveTree remove_tree_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<ObjectDatabase> objects_;
  std::unique_ptr<Workspaces> workspaces_;
};

TEST_F(WorkspaceTest, OneLeaseAtATime) {
  auto lease = workspaces_->Acquire("alice", "linux");
  ASSERT_TRUE(lease.ok()) << lease.status();
  const auto second = workspaces_->Acquire("alice", "linux");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(HasReason(second.status(), Reason::kHolderBusy));
  EXPECT_TRUE(workspaces_->Acquire("alice", "other").ok());
  EXPECT_TRUE(workspaces_->Acquire("bob", "linux").ok());
  EXPECT_EQ(workspaces_->Delete(lease->id()).code(), absl::StatusCode::kAborted);
  { const Workspaces::Lease moved = *std::move(lease); }
  EXPECT_TRUE(workspaces_->Acquire("alice", "linux").ok());
}

TEST_F(WorkspaceTest, FoldersAreReachableOnlyThroughTheirDescriptors) {
  const auto lease = workspaces_->Acquire("alice", "../../etc");
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(lease->source_dir().parent_path().parent_path(), directory_ / "workspaces");
  EXPECT_EQ(Mode(directory_ / "workspaces"), 0700u);
  EXPECT_EQ(Mode(lease->source_dir().parent_path()), 0700u);
  EXPECT_EQ(Mode(lease->source_dir()), 0755u);
  EXPECT_EQ(Mode(lease->build_dir()), 0755u);
}

TEST_F(WorkspaceTest, CcacheIsOnePerOwner) {
  const auto a = workspaces_->Acquire("alice", "one");
  const auto b = workspaces_->Acquire("alice", "two");
  const auto c = workspaces_->Acquire("bob", "one");
  EXPECT_EQ(a->ccache_dir(), b->ccache_dir());
  EXPECT_NE(a->ccache_dir(), c->ccache_dir());
  EXPECT_NE(a->id(), c->id());
  EXPECT_TRUE(fs::is_directory(c->ccache_dir()));
}

TEST_F(WorkspaceTest, ChecksOutAndRemembersOverARestart) {
  const std::string tree = Tree("6.1.1");
  {
    auto lease = *workspaces_->Acquire("alice", "linux");
    EXPECT_EQ(*lease.tree(), "");
    ASSERT_TRUE(lease.Checkout(tree).ok());
    WriteFile("workspaces/" + lease.id() + "/build/main.o", "object");
  }
  Reopen();
  auto lease = *workspaces_->Acquire("alice", "linux");
  EXPECT_EQ(*lease.tree(), tree);
  EXPECT_TRUE(fs::exists(lease.build_dir() / "main.o"));
  const auto before = fs::last_write_time(lease.source_dir() / "init/main.c");
  ASSERT_TRUE(lease.Checkout(Tree("6.1.2")).ok());
  EXPECT_EQ(fs::last_write_time(lease.source_dir() / "init/main.c"), before);
  EXPECT_THAT(*kdbg::ReadFile(lease.source_dir() / "Makefile"),
              ::testing::HasSubstr("SUBLEVEL = 2"));
}

TEST_F(WorkspaceTest, AfterAPowerCutEveryFileIsLookedAt) {
  const std::string tree = Tree("6.1.1");
  {
    auto lease = *workspaces_->Acquire("alice", "linux");
    ASSERT_TRUE(lease.Checkout(tree).ok());
    WriteFile("workspaces/" + lease.id() + "/src/Makefile", "");
  }
  ASSERT_TRUE(Sql("UPDATE workspaces SET boot_id = 'an earlier one'").ok());
  auto lease = *workspaces_->Acquire("alice", "linux");
  ASSERT_TRUE(lease.Checkout(tree).ok());
  EXPECT_GT(fs::file_size(lease.source_dir() / "Makefile"), 0u);
}

TEST_F(WorkspaceTest, AStoppedCheckoutIsMadeGood) {
  const std::string tree = Tree("6.1.1");
  auto lease = *workspaces_->Acquire("alice", "linux");
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(lease.Checkout(tree, stop.get_token()).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(*lease.tree(), "");
  ASSERT_TRUE(lease.Checkout(tree).ok());
  EXPECT_TRUE(fs::exists(lease.source_dir() / "init/main.c"));
}

TEST_F(WorkspaceTest, WhatNobodyUsesGoesAndWhatIsInUseStays) {
  std::string idle;
  { idle = workspaces_->Acquire("alice", "idle")->id(); }
  const auto busy = workspaces_->Acquire("alice", "busy");
  clock_.Advance(absl::Hours(10));
  { ASSERT_TRUE(workspaces_->Acquire("bob", "young").ok()); }
  WorkspaceBudget budget(*workspaces_, clock_, {.age = absl::Hours(5)});
  ASSERT_TRUE(budget.Keep({}).ok());
  std::vector<std::string> left;
  const auto listed = workspaces_->List(std::nullopt);
  for (const auto& workspace : *listed) left.push_back(workspace.name);
  EXPECT_THAT(left, ::testing::ElementsAre("busy", "young"));
  EXPECT_FALSE(fs::exists(directory_ / "workspaces" / idle));
  EXPECT_TRUE(fs::exists(busy->build_dir()));
}

TEST_F(WorkspaceTest, TheLeastRecentlyUsedMakeRoom) {
  const std::string megabyte(1 << 20, 'x');
  std::vector<std::string> ids;
  for (const char* name : {"oldest", "older", "young"}) {
    ids.push_back(workspaces_->Acquire("alice", name)->id());
    WriteFile("workspaces/" + ids.back() + "/build/main.o", megabyte);
    clock_.Advance(absl::Hours(10));
  }
  const auto left = [&] {
    std::vector<std::string> names;
    const auto listed = workspaces_->List(std::nullopt);
    for (const auto& workspace : *listed) names.push_back(workspace.name);
    return names;
  };
  WorkspaceBudget budget(*workspaces_, clock_, {.limit_bytes = 5 << 19});
  ASSERT_TRUE(budget.Keep({}).ok());
  EXPECT_THAT(left(), ::testing::ElementsAre("older", "young"));
  // Used again, it is looked at again.
  { ASSERT_TRUE(workspaces_->Acquire("alice", "older").ok()); }
  WriteFile("workspaces/" + ids[1] + "/build/more.o", megabyte);
  ASSERT_TRUE(budget.Keep({}).ok());
  EXPECT_THAT(left(), ::testing::ElementsAre("older"));
}

TEST_F(WorkspaceTest, OnANearlyFullDiskTheyGoUntilThereIsEnough) {
  for (const char* name : {"busy", "oldest", "older", "young"}) {
    ASSERT_TRUE(workspaces_->Acquire("alice", name).ok());
    clock_.Advance(absl::Hours(1));
  }
  const auto names = [&] {
    std::vector<std::string> all;
    const auto listed = workspaces_->List(std::nullopt);
    for (const auto& workspace : *listed) all.push_back(workspace.name);
    return all;
  };
  const auto busy = workspaces_->Acquire("alice", "busy");
  clock_.Advance(absl::Hours(1));
  ASSERT_TRUE(MakeRoom(*workspaces_, [&] { return names().size() <= 2; }).ok());
  EXPECT_THAT(names(), ::testing::ElementsAre("young", "busy"));
  ASSERT_TRUE(MakeRoom(*workspaces_, [] { return false; }).ok());
  EXPECT_THAT(names(), ::testing::ElementsAre("busy"));
}

TEST_F(WorkspaceTest, ACompilerCacheGoesWithTheLastWorkspaceOfItsOwner) {
  for (const char* name : {"one", "other"}) {
    ASSERT_TRUE(workspaces_->Acquire("alice", name).ok());
  }
  WorkspaceBudget budget(*workspaces_, clock_, {.age = absl::Hours(5)});
  const fs::path cache = workspaces_->CcacheDir("alice");
  {
    const auto busy = workspaces_->Acquire("alice", "one");
    clock_.Advance(absl::Hours(10));
    ASSERT_TRUE(budget.Keep({}).ok());
    EXPECT_TRUE(fs::exists(cache));
    EXPECT_TRUE(HasReason(workspaces_->DeleteCcache("alice"), Reason::kHolderBusy));
  }
  ASSERT_TRUE(budget.Keep({}).ok());
  EXPECT_FALSE(fs::exists(cache));
  EXPECT_TRUE(fs::exists(workspaces_->trusted_ccache_dir()));
}

TEST_F(WorkspaceTest, BuildFoldersGoThroughTheHook) {
  int calls = 0;
  remove_tree_ = [&](const fs::path& path) {
    ++calls;
    EXPECT_EQ(path.filename(), "build");
    fs::remove_all(path);
    return absl::OkStatus();
  };
  Reopen();
  std::string id;
  {
    auto lease = *workspaces_->Acquire("alice", "linux");
    id = lease.id();
    WriteFile("workspaces/" + id + "/build/main.o", "object");
    ASSERT_TRUE(lease.ClearBuild().ok());
    EXPECT_TRUE(fs::is_empty(lease.build_dir()));
  }
  EXPECT_TRUE(workspaces_->Delete(id).ok());
  EXPECT_TRUE(workspaces_->Delete(id).ok());
  EXPECT_EQ(calls, 2);
  EXPECT_FALSE(fs::exists(directory_ / "workspaces" / id));
  EXPECT_TRUE(workspaces_->List(std::nullopt)->empty());
}

TEST_F(WorkspaceTest, ListsTheLeastRecentlyUsedFirst) {
  (void)workspaces_->Acquire("alice", "one");
  clock_.Advance(absl::Hours(1));
  (void)workspaces_->Acquire("alice", "two");
  clock_.Advance(absl::Hours(1));
  (void)workspaces_->Acquire("bob", "three");
  clock_.Advance(absl::Hours(1));
  (void)workspaces_->Acquire("alice", "one");
  const auto all = *workspaces_->List(std::nullopt);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].name, "two");
  EXPECT_EQ(all[2].name, "one");
  EXPECT_EQ(workspaces_->List("bob")->size(), 1u);
}

}  // namespace
}  // namespace kdbg::source
