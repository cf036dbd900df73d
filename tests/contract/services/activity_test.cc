// What goes on, of everybody, as it goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

class ActivityTest : public testing::Test {
 protected:
  using Reader = std::unique_ptr<grpc::ClientReader<v1::Activity>>;

  v1::Activity Now(Client& client) {
    grpc::ClientContext context;
    const Reader reader = client.server->WatchActivity(&context, {});
    v1::Activity now;
    EXPECT_TRUE(reader->Read(&now));
    v1::Activity more;
    EXPECT_FALSE(reader->Read(&more)) << "one message without follow";
    EXPECT_TRUE(reader->Finish().ok());
    return now;
  }

  // Configures until somebody stops it.
  std::string StartBuild(bool is_private) {
    absl::Notification running;
    daemon_.runner().Expect({.output = "",
                             .error = {},
                             .result = {},
                             .until_cancelled = true,
                             .effect = [&](const host::Sandbox&) { running.Notify(); }});
    v1::CreateBuildRequest request;
    request.mutable_build()->set_source(
        daemon_.Import(alice_, {{"Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"},
                                {"Kconfig", ""},
                                {"kernel/fork.c", ""},
                                {"init/main.c", ""}}));
    request.mutable_build()->mutable_kernel();
    request.mutable_build()->set_private_(is_private);
    grpc::ClientContext context;
    v1::Build build;
    EXPECT_TRUE(alice_.builds->CreateBuild(&context, request, &build).ok());
    running.WaitForNotification();
    return build.name();
  }

  v1::Session CreateSession() {
    v1::CreateSessionRequest request;
    request.mutable_session()->mutable_stop_point()->set_reset(true);
    request.mutable_session()->set_initramfs("none");
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(alice_.sessions->CreateSession(&context, request, &session).ok());
    return session;
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
  Client admin_ = daemon_.As(kAdmin);
};

TEST_F(ActivityTest, IsOneMessageUnlessItIsFollowed) {
  const v1::Activity idle = Now(bob_);
  EXPECT_EQ(idle.builds_size(), 0);
  EXPECT_EQ(idle.sessions_size(), 0);
  EXPECT_FALSE(idle.draining());
}

TEST_F(ActivityTest, FollowedItIsSentAgainAfterEachChangeUntilTheCallerGoes) {
  daemon_.SeedKernel("alice");
  grpc::ClientContext context;
  v1::WatchActivityRequest request;
  request.set_follow(true);
  const Reader reader = bob_.server->WatchActivity(&context, request);
  v1::Activity now;
  ASSERT_TRUE(reader->Read(&now));
  EXPECT_EQ(now.sessions_size(), 0);
  const v1::Session session = CreateSession();
  const auto is_ready = [&] {
    return now.sessions_size() == 1 && now.sessions(0).state() == v1::Session::READY;
  };
  while (!is_ready() && reader->Read(&now)) {
  }
  ASSERT_TRUE(is_ready());
  EXPECT_EQ(now.sessions(0).name(), session.name());
  grpc::ClientContext delete_context;
  v1::DeleteSessionRequest end;
  end.set_name(session.name());
  google::protobuf::Empty nothing;
  ASSERT_TRUE(alice_.sessions->DeleteSession(&delete_context, end, &nothing).ok());
  while (now.sessions_size() != 0 && reader->Read(&now)) {
  }
  EXPECT_EQ(now.sessions_size(), 0) << "what has ended is no longer there";
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ActivityTest, OthersPrivateBuildsCountAndAreNotShown) {
  const std::string name = StartBuild(/*is_private=*/true);
  EXPECT_EQ(Now(alice_).builds_size(), 1);
  EXPECT_EQ(Now(admin_).builds_size(), 1);
  const v1::Activity strangers = Now(bob_);
  EXPECT_EQ(strangers.builds_size(), 0);
  EXPECT_EQ(strangers.builds_running(), 1);
}

TEST_F(ActivityTest, OfOthersSessionsIsShownWhoHoldsWhatAndNoMore) {
  daemon_.SeedKernel("alice");
  CreateSession();
  const v1::Activity strangers = Now(bob_);
  ASSERT_EQ(strangers.sessions_size(), 1);
  EXPECT_EQ(strangers.sessions(0).owner(), "alice");
  EXPECT_EQ(strangers.sessions(0).command_line(), "");
  EXPECT_FALSE(Now(alice_).sessions(0).command_line().empty());
}

}  // namespace
}  // namespace kdbg
