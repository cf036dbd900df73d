// As Prometheus sees them.
#include "server/observe/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace kdbg::observe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kMethods[] = {"BuildService/CreateBuild"};

class MetricsTest : public ::testing::Test {
 protected:
  std::string Scrape() const {
    return prometheus::TextSerializer().Serialize(metrics_.collectable().lock()->Collect());
  }

  Reading reading_;
  Metrics metrics_{"1.2.3", kMethods, [this] { return reading_; }};
};

TEST_F(MetricsTest, WhatHasNotHappenedIsThereWithZero) {
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("kdbgd_info{version=\"1.2.3\"} 1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_builds_total{kind=\"kernel\",result=\"host_failed\"} 0"));
  EXPECT_THAT(text, HasSubstr("kdbgd_session_ready_seconds_count{origin=\"warm\"} 0"));
  EXPECT_THAT(text, HasSubstr("kdbgd_sessions_ended_total{reason=\"expired\"} 0"));
  EXPECT_THAT(text,
              HasSubstr("kdbgd_rpcs_total{code=\"INTERNAL\",method=\"BuildService/CreateBuild\"} "
                        "0"));
}

TEST_F(MetricsTest, ACallIsCountedByItsCodeAndTimedUnlessItIsAStream) {
  metrics_.CountCall("BuildService/GetBuild", absl::StatusCode::kNotFound, absl::Milliseconds(2));
  metrics_.CountCall("BuildService/WatchBuild", absl::StatusCode::kOk, std::nullopt);
  const std::string text = Scrape();
  EXPECT_THAT(text,
              HasSubstr("kdbgd_rpcs_total{code=\"NOT_FOUND\",method=\"BuildService/GetBuild\"} "
                        "1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_rpc_seconds_bucket{method=\"BuildService/GetBuild\",le=\"0.001"
                              "\"} 0"));
  EXPECT_THAT(text, HasSubstr("kdbgd_rpc_seconds_bucket{method=\"BuildService/GetBuild\",le=\"0.005"
                              "\"} 1"));
  EXPECT_THAT(text,
              HasSubstr("kdbgd_rpcs_total{code=\"OK\",method=\"BuildService/WatchBuild\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("kdbgd_rpc_seconds_count{method=\"BuildService/WatchBuild\"}")));
}

TEST_F(MetricsTest, ABuildThatWasMadeIsTimedAndOneAnsweredFromTheStoreIsNot) {
  metrics_.CountBuild({.kind = "kernel",
                       .result = BuildResult::kSucceeded,
                       .waited = absl::Seconds(3),
                       .took = absl::Seconds(100),
                       .cache_hits = 40,
                       .cache_misses = 2});
  metrics_.CountBuild({.kind = "kernel",
                       .result = BuildResult::kAnswered,
                       .waited = {},
                       .took = {},
                       .cache_hits = 0,
                       .cache_misses = 0});
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("kdbgd_builds_total{kind=\"kernel\",result=\"succeeded\"} 1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_builds_total{kind=\"kernel\",result=\"answered\"} 1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_build_seconds_sum{kind=\"kernel\"} 100"));
  EXPECT_THAT(text, HasSubstr("kdbgd_build_seconds_count{kind=\"kernel\"} 1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_build_wait_seconds_sum 3"));
  EXPECT_THAT(text, HasSubstr("kdbgd_compile_cache_lookups_total{outcome=\"hit\"} 40"));
  EXPECT_THAT(text, HasSubstr("kdbgd_compile_cache_lookups_total{outcome=\"miss\"} 2"));
}

TEST_F(MetricsTest, ABuildThatFailedTakesNoPartInHowLongBuildsTake) {
  metrics_.CountBuild({.kind = "initramfs",
                       .result = BuildResult::kHostFailed,
                       .waited = {},
                       .took = absl::Seconds(1),
                       .cache_hits = 0,
                       .cache_misses = 0});
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("kdbgd_builds_total{kind=\"initramfs\",result=\"host_failed\"} 1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_build_seconds_count{kind=\"initramfs\"} 0"));
}

TEST_F(MetricsTest, HowThingsAreIsAskedAtEachScrape) {
  reading_.builds = {{"queued", 2}, {"running", 1}};
  reading_.disk_free_bytes = 5'000'000'000;
  reading_.gdb_flows = {{.peer = "stub", .direction = "sent", .bytes = 70, .packets = 7}};
  EXPECT_THAT(Scrape(), HasSubstr("kdbgd_builds{state=\"queued\"} 2"));
  reading_.builds["queued"] = 0;
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("kdbgd_builds{state=\"queued\"} 0"));
  EXPECT_THAT(text, HasSubstr("kdbgd_disk_free_bytes 5000000000"));
  EXPECT_THAT(text, HasSubstr("kdbgd_gdb_packets_total{peer=\"stub\",direction=\"sent\"} 7"));
  EXPECT_THAT(text, Not(HasSubstr("kdbgd_store_bytes"))) << "nobody could say";
}

}  // namespace
}  // namespace kdbg::observe
