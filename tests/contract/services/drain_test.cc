// A server that takes nothing new, over the wire.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

using ::testing::HasSubstr;

class DrainTest : public testing::Test {
 protected:
  absl::StatusOr<v1::DrainReport> Drain(const std::string& reason,
                                        v1::DrainRequest::Running running) {
    grpc::ClientContext context;
    v1::DrainRequest request;
    request.set_reason(reason);
    request.set_running(running);
    v1::DrainReport report;
    const grpc::Status status = admin_.server->Drain(&context, request, &report);
    if (!status.ok()) return FromGrpcStatus(status);
    return report;
  }
  v1::DrainReport Undrain() {
    grpc::ClientContext context;
    v1::DrainReport report;
    EXPECT_TRUE(admin_.server->Undrain(&context, {}, &report).ok());
    return report;
  }
  absl::StatusOr<v1::Build> Build() {
    v1::CreateBuildRequest request;
    request.mutable_build()->set_source(source_);
    request.mutable_build()->mutable_kernel();
    grpc::ClientContext context;
    v1::Build build;
    const grpc::Status status = alice_.builds->CreateBuild(&context, request, &build);
    if (!status.ok()) return FromGrpcStatus(status);
    return build;
  }
  // A build that configures until somebody stops it.
  std::string RunningBuild(absl::Notification& running) {
    daemon_.runner().Expect({.output = "configuring\n",
                             .error = {},
                             .result = {},
                             .until_cancelled = true,
                             .effect = [&](const host::Sandbox&) { running.Notify(); }});
    const auto build = Build();
    EXPECT_TRUE(build.ok()) << build.status();
    running.WaitForNotification();
    return build->name();
  }
  v1::Build AwaitState(const std::string& name, v1::Build::State state) {
    grpc::ClientContext context;
    v1::GetBuildRequest request;
    request.set_name(name);
    const auto watch = alice_.builds->WatchBuild(&context, request);
    v1::Build build;
    while (watch->Read(&build)) {
      if (build.state() == state) break;
    }
    EXPECT_EQ(build.state(), state);
    context.TryCancel();
    return build;
  }

  TestDaemon daemon_;
  Client admin_ = daemon_.As(kAdmin);
  Client alice_ = daemon_.As(kAlice);
  std::string source_ =
      daemon_.Import(alice_, {{"Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"},
                              {"Kconfig", ""},
                              {"kernel/fork.c", ""},
                              {"init/main.c", ""}});
};

TEST_F(DrainTest, WhatIsNewIsRefusedWithTheReasonAndTheRestGoesOn) {
  absl::Notification running;
  const std::string name = RunningBuild(running);
  const auto report = Drain("new kernel at 18:00", v1::DrainRequest::FINISH);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->draining());
  ASSERT_EQ(report->builds_size(), 1);
  EXPECT_EQ(report->builds(0).name(), name);
  EXPECT_EQ(report->builds(0).owner(), "alice");
  const auto refused = Build();
  EXPECT_TRUE(HasReason(refused.status(), Reason::kDraining)) << refused.status();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("new kernel at 18:00"));
  AwaitState(name, v1::Build::RUNNING);
  {
    grpc::ClientContext context;
    v1::ServerInfo info;
    ASSERT_TRUE(alice_.server->GetServerInfo(&context, {}, &info).ok());
    EXPECT_TRUE(info.draining());
    EXPECT_EQ(info.drain_reason(), "new kernel at 18:00");
  }
  EXPECT_FALSE(Undrain().draining());
  EXPECT_TRUE(Build().ok());  // joins the one that runs
}

TEST_F(DrainTest, WithRequeueWhatRunsIsQueuedUntilItMayGoOn) {
  absl::Notification running;
  const std::string name = RunningBuild(running);
  ASSERT_TRUE(Drain("", v1::DrainRequest::REQUEUE).ok());
  AwaitState(name, v1::Build::QUEUED);
  absl::Notification again;
  daemon_.runner().Expect({.output = "",
                           .error = {},
                           .result = {},
                           .until_cancelled = true,
                           .effect = [&](const host::Sandbox&) { again.Notify(); }});
  Undrain();
  again.WaitForNotification();
  AwaitState(name, v1::Build::RUNNING);
}

TEST_F(DrainTest, IsForAdminsAndOfFewWords) {
  grpc::ClientContext context;
  v1::DrainReport report;
  EXPECT_EQ(alice_.server->Drain(&context, {}, &report).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(Build().ok());
  EXPECT_EQ(Drain(std::string(201, 'x'), v1::DrainRequest::FINISH).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kdbg
