#include "server/service/snapshot_feed.h"

#include <gtest/gtest.h>

#include <memory>

#include "kdbg/v1/build_service.pb.h"

namespace kdbg::service {
namespace {

class SnapshotFeedTest : public testing::Test {
 protected:
  std::unique_ptr<SnapshotFeed<v1::Build>> Feed() {
    return std::make_unique<SnapshotFeed<v1::Build>>(
        flag_, Subscription(), [this](v1::Build* build) -> absl::StatusOr<bool> {
          // Never twice the same, as a running build's elapsed time.
          build->set_log_size_bytes(++looks_);
          return final_;
        });
  }

  int wakes_ = 0;
  int looks_ = 0;
  bool final_ = false;
  std::shared_ptr<ChangeFlag> flag_ = std::make_shared<ChangeFlag>([this] { ++wakes_; });
};

TEST_F(SnapshotFeedTest, TheFirstSnapshotNeedsNoChangeAndEveryOtherDoes) {
  const auto feed = Feed();
  v1::Build build;
  EXPECT_EQ(*feed->Next(&build), Pull::kMessage);
  EXPECT_EQ(*feed->Next(&build), Pull::kWait);
  EXPECT_EQ(*feed->Next(&build), Pull::kWait);
  EXPECT_EQ(looks_, 1);
  flag_->Raise();
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(*feed->Next(&build), Pull::kMessage);
  EXPECT_EQ(*feed->Next(&build), Pull::kWait);
}

TEST_F(SnapshotFeedTest, ChangesThatASlowReaderMissedAreOneStep) {
  const auto feed = Feed();
  v1::Build build;
  EXPECT_EQ(*feed->Next(&build), Pull::kMessage);
  for (int i = 0; i < 10; ++i) flag_->Raise();
  EXPECT_EQ(*feed->Next(&build), Pull::kMessage);
  EXPECT_EQ(*feed->Next(&build), Pull::kWait);
  EXPECT_EQ(looks_, 2);
}

TEST_F(SnapshotFeedTest, AfterTheFinalStateComesTheEnd) {
  final_ = true;
  const auto feed = Feed();
  v1::Build build;
  EXPECT_EQ(*feed->Next(&build), Pull::kMessage);
  EXPECT_EQ(*feed->Next(&build), Pull::kEnd);
}

}  // namespace
}  // namespace kdbg::service
