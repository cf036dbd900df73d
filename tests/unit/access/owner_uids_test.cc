#include "server/access/owner_uids.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

namespace kdbg::access {
namespace {

class OwnerUidsTest : public ::testing::Test {
 protected:
  OwnerUidsTest() {
    path_ = ::testing::TempDir() + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
            ".db";
    std::filesystem::remove(path_);
    Reopen();
  }
  void Reopen() {
    database_.reset();
    database_ = *state::Database::Open(path_, OwnerUids::Migrations());
  }
  std::string path_;
  std::unique_ptr<state::Database> database_;
};

TEST_F(OwnerUidsTest, EachOwnerHasOneUidOfTheRangeAcrossRestarts) {
  std::set<uid_t> seen;
  {
    OwnerUids uids(*database_, {.first = 700000, .count = 3});
    for (const char* owner : {"alice", "bob", "alice"}) seen.insert((*uids.For(owner))->uid);
  }
  EXPECT_EQ(seen, (std::set<uid_t>{700000, 700001}));
  Reopen();
  OwnerUids uids(*database_, {.first = 700000, .count = 3});
  EXPECT_EQ((*uids.For("bob"))->uid, 700001u);
}

TEST_F(OwnerUidsTest, ARangeThatIsUsedUpSaysHowToWidenIt) {
  OwnerUids uids(*database_, {.first = 700000, .count = 1});
  ASSERT_TRUE(uids.For("alice").ok());
  const auto refused = uids.For("bob");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(std::string(refused.status().message()).find("owner_uid_count"), std::string::npos);
}

TEST_F(OwnerUidsTest, WithoutARangeEverythingRunsAsTheDaemon) {
  OwnerUids uids(*database_, {});
  EXPECT_EQ(*uids.For("alice"), std::nullopt);
}

}  // namespace
}  // namespace kdbg::access
