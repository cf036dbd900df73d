#include "server/build/build_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class BuildLogTest : public ::testing::Test {
 protected:
  BuildLogTest() {
    std::string name = ::testing::TempDir() + "kdbg-log-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ / "b.log";
  }
  ~BuildLogTest() override { std::filesystem::remove_all(directory_); }
  std::string Whole() const { return ReadLogFile(path_, 0, 1 << 20)->data; }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

TEST_F(BuildLogTest, IsReadByOffsetWhileItGrows) {
  auto log = BuildLog::Open(path_, 1000);
  ASSERT_TRUE(log.ok());
  ASSERT_TRUE(log->Append("hello ").ok());
  EXPECT_EQ(ReadLogFile(path_, 2, 3)->data, "llo");
  ASSERT_TRUE(log->Append("world").ok());
  EXPECT_EQ(ReadLogFile(path_, 6, 100)->data, "world");
  EXPECT_EQ(ReadLogFile(path_, -5, 100)->data, "world");
  EXPECT_EQ(ReadLogFile(path_, -5, 100)->offset_bytes, 6);
  EXPECT_EQ(ReadLogFile(path_, -500, 100)->offset_bytes, 0);
  EXPECT_EQ(ReadLogFile(path_, 11, 100)->data, "");
}

TEST_F(BuildLogTest, AnOffsetBeyondTheEndIsAnError) {
  const auto slice = ReadLogFile(path_, 1, 10);
  EXPECT_EQ(slice.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(HasReason(slice.status(), Reason::kOffsetOutOfRange));
}

TEST_F(BuildLogTest, BeyondItsLimitItKeepsTheEndAndSaysWhatIsMissing) {
  auto log = BuildLog::Open(path_, 100);
  ASSERT_TRUE(log.ok());
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(log->Append("line " + std::to_string(i) + "\n").ok());
  }
  ASSERT_TRUE(log->Finish().ok());
  const std::string whole = Whole();
  EXPECT_LT(whole.size(), 40'000u);
  EXPECT_EQ(static_cast<std::int64_t>(whole.size()), log->size_bytes());
  EXPECT_THAT(whole, StartsWith("line 0\n"));
  EXPECT_THAT(whole, HasSubstr("bytes are left out here"));
  EXPECT_THAT(whole, EndsWith("line 9999\n"));
}

}  // namespace
}  // namespace kdbg::build
