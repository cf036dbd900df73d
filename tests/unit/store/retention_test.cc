#include "server/store/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "proto/support/status_macros.h"
#include "tests/support/fake_clock.h"

namespace kdbg::store {
namespace {

using state::Transaction;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RetentionTest : public testing::Test {
 protected:
  RetentionTest() {
    std::string name = testing::TempDir() + "kdbg-retention-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    blobs_ = *BlobStore::Open(directory_ / "store");
    database_ = *state::Database::Open(directory_ / "kdbg.db", ArtifactStore::Migrations());
    store_ = std::make_unique<ArtifactStore>(*database_, *blobs_, clock_);
  }
  ~RetentionTest() override { std::filesystem::remove_all(directory_); }

  // Of alice, published now.
  std::string Publish(const std::string& content, const std::string& display_name = "") {
    Artifact artifact;
    artifact.owner = "alice";
    artifact.display_name = display_name;
    const Blob blob = *blobs_->PutBytes(content);
    artifact.files = {{"vmlinux", blob.digest, blob.size_bytes}};
    std::string id;
    EXPECT_TRUE(database_
                    ->Write([&](Transaction& transaction) -> absl::Status {
                      KDBG_ASSIGN_OR_RETURN(const Artifact made,
                                            store_->Publish(transaction, artifact));
                      id = made.id;
                      return absl::OkStatus();
                    })
                    .ok());
    return id;
  }
  absl::Status Pin(const std::string& id) {
    return database_->Write([&](Transaction& t) { return store_->Pin(t, id, "session s-1"); });
  }
  std::vector<std::string> Run(const RetentionPolicy& policy,
                               const Retention::Request& request = {}) {
    std::vector<std::string> ids;
    const auto removed = Retention(*store_, clock_, policy).Run(request, {});
    for (const Removal& removal : *removed) ids.push_back(removal.artifact.id);
    return ids;
  }

  FakeClock clock_;
  std::filesystem::path directory_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<ArtifactStore> store_;
};

const RetentionPolicy kTenDays = {.age = absl::Hours(240)};

TEST_F(RetentionTest, WhatNobodyHasUsedForLongGoes) {
  const std::string old = Publish("old");
  const std::string used = Publish("used");
  clock_.Advance(absl::Hours(239));
  EXPECT_THAT(Run(kTenDays), IsEmpty());
  ASSERT_TRUE(store_->Touch(used).ok());
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(Run(kTenDays), ElementsAre(old));
  EXPECT_FALSE(store_->Get(old).ok());
  EXPECT_TRUE(store_->Get(used).ok());
}

TEST_F(RetentionTest, PinsAndTheNewestOfANameKeep) {
  const std::string pinned = Publish("pinned");
  const std::string first = Publish("first", "mine");
  const std::string second = Publish("second", "mine");
  const std::string other = Publish("other", "another");
  ASSERT_TRUE(Pin(pinned).ok());
  clock_.Advance(absl::Hours(1000));
  EXPECT_THAT(Run(kTenDays), ElementsAre(first));
}

TEST_F(RetentionTest, AnEndedSessionCountsAsAUse) {
  const std::string id = Publish("kernel");
  ASSERT_TRUE(Pin(id).ok());
  clock_.Advance(absl::Hours(1000));
  ASSERT_TRUE(
      database_->Write([&](Transaction& t) { return store_->Unpin(t, id, "session s-1"); }).ok());
  EXPECT_THAT(Run(kTenDays), IsEmpty());
  clock_.Advance(absl::Hours(241));
  EXPECT_THAT(Run(kTenDays), ElementsAre(id));
}

TEST_F(RetentionTest, ForRoomTheLeastRecentlyUsedGoUntilItIsEnough) {
  std::vector<std::string> ids;
  for (const char* content : {"1111111111", "2222222222", "3333333333", "4444444444"}) {
    ids.push_back(Publish(content));
    clock_.Advance(absl::Hours(1));
  }
  ASSERT_TRUE(store_->Touch(ids[0]).ok());
  clock_.Advance(absl::Hours(10));
  EXPECT_THAT(Run({.limit_bytes = 25}), ElementsAre(ids[1], ids[2]));
}

TEST_F(RetentionTest, EqualFilesTakeRoomOnce) {
  const std::string one = Publish("the same bytes");
  const std::string two = Publish("the same bytes");
  clock_.Advance(absl::Hours(10));
  EXPECT_THAT(Run({.limit_bytes = 14}), IsEmpty());
  const auto plan = Retention(*store_, clock_, {.limit_bytes = 13}).Plan({});
  ASSERT_EQ(plan->size(), 2u);
  EXPECT_EQ((*plan)[0].freed_bytes, 0);
  EXPECT_EQ((*plan)[1].freed_bytes, 14);
  EXPECT_EQ((*plan)[1].cause, RemovalCause::kRoom);
  EXPECT_EQ(store_->List({})->size(), 2u);
}

TEST_F(RetentionTest, WhatWasJustUsedStaysHoweverLittleRoomThereIs) {
  Publish("new");
  EXPECT_THAT(Run({.limit_bytes = 1}), IsEmpty());
}

TEST_F(RetentionTest, AnOwnerMayAskForTheirOwnSooner) {
  const std::string id = Publish("kernel");
  clock_.Advance(absl::Minutes(10));
  EXPECT_THAT(Run(kTenDays, {.owner = "bob", .age = absl::Minutes(5)}), IsEmpty());
  EXPECT_THAT(Run(kTenDays, {.owner = "alice", .age = absl::Minutes(11)}), IsEmpty());
  EXPECT_THAT(Run(kTenDays, {.owner = "alice", .age = absl::Minutes(5)}), ElementsAre(id));
}

// Whatever the order, an artifact that was pinned is there, and one that is gone was not pinned.
TEST_F(RetentionTest, NothingThatIsPinnedMeanwhileIsTaken) {
  for (int round = 0; round < 30; ++round) {
    const std::string id = Publish("kernel " + std::to_string(round));
    clock_.Advance(absl::Hours(1000));
    absl::Status pinned;
    std::thread session([&] { pinned = Pin(id); });
    Run(kTenDays);
    session.join();
    EXPECT_EQ(store_->Get(id).ok(), pinned.ok()) << pinned;
    if (pinned.ok()) {
      ASSERT_TRUE(
          database_->Write([&](Transaction& t) { return store_->Unpin(t, id, "session s-1"); })
              .ok());
    }
  }
}

}  // namespace
}  // namespace kdbg::store
