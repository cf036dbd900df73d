// What is kept of what people do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"
#include "tests/support/gdb_client.h"

namespace kdbg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kRequest[] = "0b0f7c52-5f6f-4a3e-9f39-3f1d2b1c0a99";

class AuditTest : public testing::Test {
 protected:
  v1::Session CreateReady() {
    daemon_.SeedKernel("alice");
    v1::CreateSessionRequest request;
    request.mutable_session()->mutable_stop_point()->set_reset(true);
    request.mutable_session()->set_initramfs("none");
    request.set_request_id(kRequest);
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(alice_.sessions->CreateSession(&context, request, &session).ok());
    v1::GetSessionRequest watch;
    watch.set_name(session.name());
    grpc::ClientContext watch_context;
    const auto reader = alice_.sessions->WatchSession(&watch_context, watch);
    while (reader->Read(&session) && session.state() != v1::Session::READY) {
    }
    watch_context.TryCancel();
    reader->Finish();
    return session;
  }

  absl::Status Delete(Client& client, const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteSessionRequest request;
    request.set_name(name);
    google::protobuf::Empty nothing;
    return FromGrpcStatus(client.sessions->DeleteSession(&context, request, &nothing));
  }

  static std::string IdOf(const std::string& name) { return name.substr(name.find('/') + 1); }

  // The one record of this action.
  observe::AuditRecord The(const std::string& action) {
    const auto records = daemon_.audit().Of(action);
    EXPECT_EQ(records.size(), 1u) << action;
    return records.empty() ? observe::AuditRecord() : records.front();
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
};

TEST_F(AuditTest, WhatWasMadeIsNamedWithWhoMadeItAndTheirRequest) {
  const v1::Session session = CreateReady();
  const observe::AuditRecord record = The("SessionService/CreateSession");
  EXPECT_EQ(record.user, "alice");
  EXPECT_EQ(record.from, "unix");
  EXPECT_EQ(record.result, "OK");
  EXPECT_EQ(record.request, kRequest);
  EXPECT_THAT(record.resources, ElementsAre(session.name()));
}

TEST_F(AuditTest, WhoOnlyLooksLeavesNothing) {
  const v1::Session session = CreateReady();
  grpc::ClientContext context;
  v1::GetSessionRequest request;
  request.set_name(session.name());
  v1::Session now;
  EXPECT_TRUE(alice_.sessions->GetSession(&context, request, &now).ok());
  EXPECT_THAT(daemon_.audit().Of("SessionService/GetSession"), IsEmpty());
  EXPECT_THAT(daemon_.audit().Of("SessionService/WatchSession"), IsEmpty());
}

TEST_F(AuditTest, WhoLacksTheRightIsKeptAndSoIsWhatTheyTried) {
  const v1::Session session = CreateReady();
  EXPECT_FALSE(Delete(bob_, session.name()).ok());
  const observe::AuditRecord record = The("SessionService/DeleteSession");
  EXPECT_EQ(record.user, "bob");
  EXPECT_THAT(record.result, testing::AnyOf("PERMISSION_DENIED", "NOT_FOUND"));
  EXPECT_THAT(record.resources, ElementsAre(session.name()));
}

TEST_F(AuditTest, WithoutARoleEvenALookIsKept) {
  Client mallory = daemon_.As(kMallory);
  grpc::ClientContext context;
  v1::ListBuildsResponse response;
  EXPECT_FALSE(mallory.builds->ListBuilds(&context, {}, &response).ok());
  const observe::AuditRecord record = The("BuildService/ListBuilds");
  EXPECT_EQ(record.user, "mallory");
  EXPECT_EQ(record.result, "PERMISSION_DENIED");
}

TEST_F(AuditTest, ARequestThatMakesNoSenseLeavesNoneOfItsContent) {
  const std::string secret = "not-a-uuid " + std::string(1000, 's');
  grpc::ClientContext context;
  v1::CreateSessionRequest request;
  request.set_request_id(secret);
  v1::Session session;
  EXPECT_FALSE(alice_.sessions->CreateSession(&context, request, &session).ok());
  const observe::AuditRecord record = The("SessionService/CreateSession");
  EXPECT_EQ(record.result, "INVALID_ARGUMENT");
  EXPECT_THAT(ToLine(record), Not(HasSubstr("ssss")));
}

TEST_F(AuditTest, AConversationIsKeptOnceAndWhenItBegins) {
  const v1::Session session = CreateReady();
  grpc::ClientContext context;
  const auto console = alice_.sessions->AttachConsole(&context);
  v1::AttachConsoleRequest start;
  start.mutable_start()->set_name(session.name());
  ASSERT_TRUE(console->Write(start));
  daemon_.Print(IdOf(session.name()), "hello");
  v1::ConsoleChunk chunk;
  ASSERT_TRUE(console->Read(&chunk));
  const observe::AuditRecord record = The("SessionService/AttachConsole");
  EXPECT_EQ(record.result, "OK");
  EXPECT_THAT(record.resources, ElementsAre(session.name()));
  // With the session goes the console.
  ASSERT_TRUE(Delete(alice_, session.name()).ok());
  while (console->Read(&chunk)) {
  }
  console->Finish();
  EXPECT_THAT(daemon_.audit().Of("SessionService/AttachConsole"), testing::SizeIs(1));
}

TEST_F(AuditTest, WhoComesToAGdbPortIsKept) {
  const v1::Session session = CreateReady();
  gdb::GdbClient gdb(session.gdb().port());
  gdb.Attach();
  const observe::AuditRecord record = The("gdb port");
  EXPECT_FALSE(record.user.empty());
  EXPECT_EQ(record.from, gdb.name());
  EXPECT_EQ(record.result, "OK");
  EXPECT_THAT(record.resources, ElementsAre(session.name()));
}

}  // namespace
}  // namespace kdbg
