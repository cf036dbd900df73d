#include "server/build/trusted_remotes.h"

#include <gmock/gmock.h>

#include "tests/support/fake_clock.h"
#include "tests/support/git_repository.h"
#include "tests/unit/build/builds_fixture.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

TEST(TrustedRemoteTest, ABranchStandsBehindTheUrl) {
  const auto branch = TrustedRemote::Parse("https://git.kernel.org/linux.git#linux-6.1.y");
  ASSERT_TRUE(branch.ok()) << branch.status();
  EXPECT_EQ(branch->url, "https://git.kernel.org/linux.git");
  EXPECT_EQ(branch->ref, "linux-6.1.y");
  EXPECT_EQ(TrustedRemote::Parse("https://git.kernel.org/linux.git")->ref, "HEAD");
}

TEST(TrustedRemoteTest, WhatNobodyCouldFetchIsRefused) {
  for (const char* text : {"", "linux.git", "http://git.kernel.org/linux.git", "https://host/x#",
                           "https://host/x#a..b", "https://user:word@host/x#main"}) {
    EXPECT_EQ(TrustedRemote::Parse(text).status().code(), absl::StatusCode::kInvalidArgument)
        << text;
  }
}

class TrustedRemotesTest : public BuildsTest {
 protected:
  TrustedRemotesTest() {
    remote_.Write("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n");
    remote_.Write("Kconfig", "");
    remote_.Write("kernel/fork.c", "");
    remote_.Write("init/main.c", "int main;\n");
    remote_.Commit();
  }

  void Commit(const std::string& text) {
    remote_.Write("init/main.c", text);
    remote_.Commit();
  }
  // Another period later: what is settled and fetched then, until it has come.
  std::vector<source::SourceRecord> NextPeriod() {
    time_.Advance(absl::Hours(1));
    absl::Mutex mutex;
    bool ended = false;
    const Subscription subscription = sources_->Subscribe([&](const source::SourceRecord& source) {
      absl::MutexLock lock(&mutex);
      if (source.state != source::SourceState::kImporting) ended = true;
    });
    EXPECT_TRUE(remotes_.KeepUp().ok());
    mutex.LockWhen(absl::Condition(&ended));
    mutex.Unlock();
    return All();
  }
  std::vector<source::SourceRecord> All() { return *sources_->List({}); }

  FakeClock time_;
  GitRepository remote_{directory_ / "remote"};
  source::TrustedSources trusted_{*database_, *objects_, clock_};
  TrustedBuilds builds_of_all_{*builds_, trusted_, *seeds_, *workspaces_, {}};
  TrustedRemotes remotes_{
      *sources_,
      builds_of_all_,
      time_,
      {.remotes = {{.url = "file://" + remote_.folder().string(), .ref = "HEAD"}},
       .period = absl::Hours(1),
       .commits_kept = 2}};
};

TEST_F(TrustedRemotesTest, AreFetchedWhenItIsTime) {
  ASSERT_EQ(NextPeriod().size(), 1u);
  EXPECT_EQ(All()[0].owner, source::kTrustedOwner);
  EXPECT_EQ(trusted_.List()->size(), 1u);
  Commit("int changed;\n");
  ASSERT_TRUE(remotes_.KeepUp().ok());
  EXPECT_EQ(All().size(), 1u);  // not yet
  ASSERT_EQ(NextPeriod().size(), 2u);
  EXPECT_NE(All()[0].tree, All()[1].tree);
}

TEST_F(TrustedRemotesTest, ATreeThatHasNotChangedIsOneSource) {
  const std::string first = NextPeriod()[0].id;
  NextPeriod();
  const std::vector<source::SourceRecord> sources = NextPeriod();
  ASSERT_EQ(sources.size(), 2u);  // and the one that came just now
  EXPECT_EQ(sources[1].id, first);
}

TEST_F(TrustedRemotesTest, TheOldestCommitsGoAndTheCompilerCacheStays) {
  const std::string oldest = NextPeriod()[0].id;
  ExpectConfigure();
  ExpectCompile();
  ASSERT_TRUE(builds_of_all_.KeepUp().ok());
  ASSERT_EQ(builds_->List({})->size(), 1u);
  ASSERT_EQ(Finish(builds_->List({})->front()).state, BuildState::kSucceeded);
  ASSERT_EQ(seeds_->List()->size(), 1u);
  const fs::path cached = workspaces_->trusted_ccache_dir() / "0/entry";
  Write(cached, "object");
  for (const char* text : {"int second;\n", "int third;\n", "int fourth;\n"}) {
    Commit(text);
    NextPeriod();
  }
  EXPECT_EQ(sources_->Get(oldest).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(All().size(), 3u);  // two, and the one that came just now
  EXPECT_TRUE(seeds_->List()->empty());
  EXPECT_TRUE(builds_->List({})->empty());
  EXPECT_TRUE(fs::exists(cached));
}

TEST_F(TrustedRemotesTest, AFetchThatFailedIsTriedAgain) {
  fs::rename(remote_.folder(), directory_ / "away");
  EXPECT_EQ(NextPeriod()[0].state, source::SourceState::kFailed);
  fs::rename(directory_ / "away", remote_.folder());
  const std::vector<source::SourceRecord> sources = NextPeriod();
  ASSERT_EQ(sources.size(), 1u);
  EXPECT_EQ(sources[0].state, source::SourceState::kReady);
}

}  // namespace
}  // namespace kdbg::build
