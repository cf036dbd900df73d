// A build while it runs: watched, its log followed, ended.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

// A kernel whose compiler prints one line and then runs until somebody ends it.
class RunningBuildTest : public testing::Test {
 protected:
  RunningBuildTest() {
    source_ = daemon_.Import(alice_, {{"Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"},
                                      {"Kconfig", ""},
                                      {"kernel/fork.c", ""},
                                      {"init/main.c", ""}});
    daemon_.runner().Expect({.output = "configuring\n",
                             .error = {},
                             .result = {},
                             .until_cancelled = true,
                             .effect = [this](const host::Sandbox&) { running_.Notify(); }});
    v1::CreateBuildRequest request;
    request.mutable_build()->set_source(source_);
    request.mutable_build()->mutable_kernel();
    grpc::ClientContext context;
    v1::Build build;
    const grpc::Status created = alice_.builds->CreateBuild(&context, request, &build);
    EXPECT_TRUE(created.ok()) << created.error_message();
    EXPECT_EQ(build.state(), v1::Build::QUEUED);
    name_ = build.name();
    running_.WaitForNotification();
  }

  absl::StatusOr<v1::Build> Cancel(Client& client) {
    grpc::ClientContext context;
    v1::CancelBuildRequest request;
    request.set_name(name_);
    v1::Build build;
    const grpc::Status status = client.builds->CancelBuild(&context, request, &build);
    if (!status.ok()) return FromGrpcStatus(status);
    return build;
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
  absl::Notification running_;
  std::string source_;
  std::string name_;
};

TEST_F(RunningBuildTest, CancelEndsItAndEveryWatchAndFollowedLog) {
  grpc::ClientContext watch_context;
  v1::GetBuildRequest get;
  get.set_name(name_);
  const auto watch = alice_.builds->WatchBuild(&watch_context, get);
  v1::Build build;
  ASSERT_TRUE(watch->Read(&build));
  EXPECT_EQ(build.state(), v1::Build::RUNNING);
  grpc::ClientContext log_context;
  v1::ReadBuildLogRequest read;
  read.set_name(name_);
  read.set_follow(true);
  const auto log = bob_.builds->ReadBuildLog(&log_context, read);
  std::string text;
  v1::LogChunk chunk;
  while (text.find("configuring\n") == std::string::npos && log->Read(&chunk)) text += chunk.data();

  const auto cancelled = Cancel(alice_);
  ASSERT_TRUE(cancelled.ok()) << cancelled.status();
  EXPECT_EQ(cancelled->state(), v1::Build::CANCELLED);
  EXPECT_EQ(Cancel(alice_)->state(), v1::Build::CANCELLED);
  while (watch->Read(&build)) {
  }
  EXPECT_TRUE(watch->Finish().ok());
  EXPECT_EQ(build.state(), v1::Build::CANCELLED);
  while (log->Read(&chunk)) {
  }
  EXPECT_TRUE(log->Finish().ok());
}

TEST_F(RunningBuildTest, AWatcherThatGoesDoesNotEndIt) {
  {
    grpc::ClientContext context;
    v1::GetBuildRequest get;
    get.set_name(name_);
    const auto watch = alice_.builds->WatchBuild(&context, get);
    v1::Build build;
    ASSERT_TRUE(watch->Read(&build));
    context.TryCancel();
    watch->Finish();
  }
  grpc::ClientContext context;
  v1::GetBuildRequest get;
  get.set_name(name_);
  v1::Build build;
  ASSERT_TRUE(alice_.builds->GetBuild(&context, get, &build).ok());
  EXPECT_EQ(build.state(), v1::Build::RUNNING);
}

TEST_F(RunningBuildTest, NeitherItNorItsSourceCanBeDeletedAndOthersCannotCancelIt) {
  EXPECT_EQ(Cancel(bob_).status().code(), absl::StatusCode::kPermissionDenied);
  google::protobuf::Empty nothing;
  {
    grpc::ClientContext context;
    v1::DeleteBuildRequest request;
    request.set_name(name_);
    EXPECT_TRUE(HasReason(FromGrpcStatus(alice_.builds->DeleteBuild(&context, request, &nothing)),
                          Reason::kWrongState));
  }
  grpc::ClientContext context;
  v1::DeleteSourceRequest request;
  request.set_name(source_);
  const absl::Status status =
      FromGrpcStatus(alice_.sources->DeleteSource(&context, request, &nothing));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status)->metadata.at("holder"), name_);
}

TEST_F(RunningBuildTest, ALogThatIsNotFollowedEndsAtThePresentEnd) {
  grpc::ClientContext context;
  v1::ReadBuildLogRequest read;
  read.set_name(name_);
  const auto log = alice_.builds->ReadBuildLog(&context, read);
  v1::LogChunk chunk;
  while (log->Read(&chunk)) {
  }
  EXPECT_TRUE(log->Finish().ok());
  grpc::ClientContext beyond_context;
  read.set_offset_bytes(1'000'000);
  const auto beyond = alice_.builds->ReadBuildLog(&beyond_context, read);
  EXPECT_FALSE(beyond->Read(&chunk));
  EXPECT_TRUE(HasReason(FromGrpcStatus(beyond->Finish()), Reason::kOffsetOutOfRange));
}

TEST_F(RunningBuildTest, TheServerCountsIt) {
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(bob_.server->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.builds_running(), 1);
  EXPECT_EQ(info.builds_queued(), 0);
}

}  // namespace
}  // namespace kdbg
