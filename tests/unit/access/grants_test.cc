#include "server/access/grants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace kdbg::access {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GrantsTest : public ::testing::Test {
 protected:
  GrantsTest() {
    std::string name = ::testing::TempDir() + "kdbg-grants-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    Reopen();
  }
  ~GrantsTest() override { std::filesystem::remove_all(directory_); }
  void Reopen() {
    grants_.reset();
    database_.reset();
    database_ = *state::Database::Open(directory_ / "state.db", Grants::Migrations());
    grants_ = *Grants::Open(*database_);
  }

  std::filesystem::path directory_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<Grants> grants_;
};

TEST_F(GrantsTest, OutliveARestart) {
  ASSERT_TRUE(grants_->Grant("builds/b-1", "bob").ok());
  ASSERT_TRUE(grants_->Grant("builds/b-1", "bob").ok());
  ASSERT_TRUE(grants_->Grant("builds/b-2", "bob").ok());
  ASSERT_TRUE(grants_->Grant("builds/b-2", "carol").ok());
  ASSERT_TRUE(grants_->TakeBack("builds/b-2", "bob").ok());
  Reopen();
  EXPECT_TRUE(grants_->Has("builds/b-1", "bob"));
  EXPECT_FALSE(grants_->Has("builds/b-2", "bob"));
  EXPECT_FALSE(grants_->Has("", "bob"));
  EXPECT_THAT(grants_->UsersOf("builds/b-2"), ElementsAre("carol"));
  EXPECT_THAT(grants_->ResourcesOf("bob"), ElementsAre("builds/b-1"));
}

TEST_F(GrantsTest, GoWithTheResource) {
  ASSERT_TRUE(grants_->Grant("builds/b-1", "bob").ok());
  ASSERT_TRUE(grants_->Forget("builds/b-1").ok());
  ASSERT_TRUE(grants_->Forget("builds/b-1").ok());
  Reopen();
  EXPECT_THAT(grants_->ResourcesOf("bob"), IsEmpty());
}

TEST_F(GrantsTest, AreBounded) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(grants_->Grant("builds/b-1", "user" + std::to_string(i)).ok());
  }
  EXPECT_EQ(grants_->Grant("builds/b-1", "bob").code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace kdbg::access
