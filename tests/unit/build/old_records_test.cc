#include "server/build/old_records.h"

#include "tests/support/fake_clock.h"
#include "tests/unit/build/builds_fixture.h"

namespace kdbg::build {
namespace {

class OldRecordsTest : public BuildsTest {
 protected:
  OldRecordsTest() { later_.SetWall(absl::Now() + absl::Hours(48)); }
  absl::Status Remove(absl::Duration age) { return records_.Remove(age, {}); }

  FakeClock later_;
  OldRecords records_{*builds_, *sources_, *artifacts_, later_};
};

TEST_F(OldRecordsTest, ABuildIsForgottenOnceItsArtifactIsGone) {
  const std::string source = KernelSource();
  ExpectConfigure();
  ExpectCompile();
  const BuildRecord build = Run(KernelRequestOf(source));
  ASSERT_EQ(build.state, BuildState::kSucceeded) << LogOf(build);
  const fs::path log = directory_ / "logs" / (build.id + ".log");
  ASSERT_TRUE(Remove(absl::Hours(24)).ok());
  EXPECT_TRUE(fs::exists(log));
  ASSERT_TRUE(artifacts_->Delete(build.artifact_id).ok());
  ASSERT_TRUE(Remove(absl::Hours(72)).ok());  // not that old
  EXPECT_TRUE(builds_->Get(build.id).ok());
  ASSERT_TRUE(Remove(absl::Hours(24)).ok());
  EXPECT_EQ(builds_->Get(build.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(fs::exists(log));
  EXPECT_EQ(sources_->Get(source).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(OldRecordsTest, ASourceIsKeptByABuildOfItAndByTrust) {
  const std::string built = KernelSource();
  ExpectConfigure();
  ExpectCompile();
  ASSERT_EQ(Run(KernelRequestOf(built)).state, BuildState::kSucceeded);
  const std::string trusted = KernelSource("void start_kernel(void) { ; }\n");
  source::TrustedSources all(*database_, *objects_, clock_);
  const std::string everybodys = all.Trust(trusted)->id;
  ASSERT_TRUE(Remove(absl::Hours(24)).ok());
  EXPECT_TRUE(sources_->Get(built).ok());
  EXPECT_TRUE(sources_->Get(everybodys).ok());
  EXPECT_FALSE(sources_->Get(trusted).ok());
}

TEST_F(OldRecordsTest, WhatHasNotEndedStays) {
  const std::string source = KernelSource();
  absl::Notification started;
  ExpectUntilCancelled(started);
  const auto build = builds_->Create("alice", KernelRequestOf(source));
  ASSERT_TRUE(build.ok());
  started.WaitForNotification();
  ASSERT_TRUE(Remove(absl::Hours(24)).ok());
  EXPECT_TRUE(builds_->Get(build->id).ok());
  EXPECT_TRUE(sources_->Get(source).ok());
  ASSERT_TRUE(builds_->Cancel(build->id).ok());
}

}  // namespace
}  // namespace kdbg::build
