// What the server says of its own parts: to people, and to who asks gRPC for its health.
#include "server/app/health_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "proto/contract/error.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

using ::testing::HasSubstr;

constexpr char kServing[] = "\x08\x01";  // HealthCheckResponse
constexpr char kNotServing[] = "\x08\x02";

class HealthWatchTest : public testing::Test {
 protected:
  void Look(std::int64_t floor_bytes = 0) {
    app::HealthWatch watch({.hypervisor = daemon_.hypervisor(),
                            .runner = runner_,
                            .run_as = [] { return std::optional<host::Identity>(); },
                            .state_directory = daemon_.directory(),
                            .free_space_floor_bytes = floor_bytes});
    EXPECT_TRUE(watch.LookAndTell(daemon_.server()).run({}).ok());
    parts_.clear();
    for (const observe::PartState& part : watch.health().Now()) parts_[part.name] = part.status;
  }
  std::string Health(const std::string& service) {
    const std::string request =
        service.empty() ? "" : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
    return CallRaw(alice_.channel, "/grpc.health.v1.Health/Check", request).bytes;
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  host::FakeSandboxRunner runner_;
  std::map<std::string, absl::Status> parts_;
};

TEST_F(HealthWatchTest, WhenAllWorksAllServe) {
  Look();
  for (const auto& [name, status] : parts_) EXPECT_TRUE(status.ok()) << name << status;
  EXPECT_EQ(parts_.size(), 4u);
  EXPECT_EQ(Health("kdbg.v1.BuildService"), kServing);
  EXPECT_EQ(Health("kdbg.v1.SessionService"), kServing);
}

TEST_F(HealthWatchTest, WithoutLibvirtSessionsDoNotServeUntilItIsBack) {
  daemon_.hypervisor().FailWith(MakeError(absl::StatusCode::kUnavailable,
                                          Reason::kHypervisorUnavailable,
                                          "the connection to libvirt is lost"));
  Look();
  EXPECT_FALSE(parts_["guests"].ok());
  EXPECT_EQ(Health("kdbg.v1.SessionService"), kNotServing);
  EXPECT_EQ(Health("kdbg.v1.BuildService"), kServing);
  EXPECT_EQ(Health(""), kServing) << "a restart would not bring libvirt back";
  daemon_.hypervisor().FailWith(absl::OkStatus());
  Look();
  EXPECT_EQ(Health("kdbg.v1.SessionService"), kServing);
}

TEST_F(HealthWatchTest, OnAFullDiskBuildsDoNotServe) {
  Look(std::int64_t{1} << 60);
  EXPECT_TRUE(HasReason(parts_["disk"], Reason::kDiskFull)) << parts_["disk"];
  EXPECT_THAT(std::string(parts_["disk"].message()), HasSubstr("free_space_floor_mib"));
  EXPECT_EQ(Health("kdbg.v1.BuildService"), kNotServing);
  EXPECT_EQ(Health("kdbg.v1.SessionService"), kServing);
}

TEST_F(HealthWatchTest, WithABrokenCompilerCacheBuildsDoNotServe) {
  for (int looks = 0; looks < 2; ++looks) {
    runner_.Expect({.error = "cannot execute binary file",
                    .result = {.status = {.code = 126},
                               .cause = host::EndCause::kExited,
                               .message = "",
                               .cpu_time = {}}});
  }
  Look();
  EXPECT_THAT(std::string(parts_["compiler cache"].message()), HasSubstr("cannot execute"));
  EXPECT_EQ(Health("kdbg.v1.BuildService"), kNotServing);
}

TEST_F(HealthWatchTest, TheServersInfoAndTheMetricsSayItAtOnce) {
  daemon_.Scrape();
  const auto guests = [this] {
    grpc::ClientContext context;
    v1::ServerInfo info;
    EXPECT_TRUE(alice_.server->GetServerInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.parts_size(), 1);
    return info.parts(0);
  };
  EXPECT_TRUE(guests().works());
  EXPECT_EQ(guests().detail(), "");
  daemon_.hypervisor().FailWith(absl::UnavailableError("the connection to libvirt is lost"));
  EXPECT_FALSE(guests().works());
  EXPECT_EQ(guests().detail(), "the connection to libvirt is lost");
  EXPECT_THAT(daemon_.Scrape(), HasSubstr("kdbgd_part_up{part=\"guests\"} 0"));
}

}  // namespace
}  // namespace kdbg
