#include "server/base/disk_error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "proto/contract/error.h"

namespace kdbg {
namespace {

TEST(DiskErrorTest, AFullDiskSaysSoAndNamesThePath) {
  for (const int number : {ENOSPC, EDQUOT}) {
    const absl::Status status = DiskError(number, "write", "/state/x");
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_TRUE(HasReason(status, Reason::kDiskFull));
    EXPECT_EQ(GetErrorDetail(status)->metadata.at("path"), "/state/x");
  }
  EXPECT_FALSE(HasReason(DiskError(EACCES, "write", "/state/x"), Reason::kDiskFull));
}

TEST(DiskErrorTest, OnlyABareResourceExhaustedBecomesAFullDisk) {
  EXPECT_TRUE(HasReason(WithDiskReason(absl::ResourceExhaustedError("write: no space"), "/x"),
                        Reason::kDiskFull));
  const absl::Status other =
      MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded, "too many");
  EXPECT_TRUE(HasReason(WithDiskReason(other, "/x"), Reason::kQuotaExceeded));
  EXPECT_TRUE(WithDiskReason(absl::OkStatus(), "/x").ok());
}

}  // namespace
}  // namespace kdbg
