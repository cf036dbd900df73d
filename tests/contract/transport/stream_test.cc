// Streams and the server's life: slow readers, cancels, limits, the end.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kdbg/v1/source_service.grpc.pb.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/toy_services.h"

namespace kdbg::service {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

using Watch = std::unique_ptr<grpc::ClientReader<v1::Session>>;

class StreamTest : public testing::Test {
 protected:
  explicit StreamTest(GateLimits limits = {}) : toy_(limits) {}

  std::unique_ptr<v1::SessionService::Stub> Sessions(uid_t uid = kAlice) {
    return v1::SessionService::NewStub(toy_.As(uid));
  }
  // Until the server's side of the stream is gone.
  bool Gone(const std::shared_ptr<Probe>& probe) {
    return probe->gone.WaitForNotificationWithTimeout(kPatience);
  }

  ToyServer toy_;
};

TEST_F(StreamTest, MessagesComeInOrderAndTheEndIsOk) {
  const auto stub = Sessions();
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  for (const char* name : {"0", "1", "2"}) {
    ASSERT_TRUE(watch->Read(&message));
    EXPECT_EQ(message.name(), name);
  }
  EXPECT_FALSE(watch->Read(&message));
  EXPECT_TRUE(watch->Finish().ok());
}

TEST_F(StreamTest, AReaderThatStandsStillCostsAFewMessagesNotAll) {
  toy_.session_service.messages = 100'000;
  toy_.session_service.message_bytes = 64 << 10;
  const auto stub = Sessions();
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  ASSERT_TRUE(watch->Read(&message));
  // Time for the server to run ahead, if it did.
  for (int i = 0; i < 300; ++i) {
    grpc::ClientContext other;
    v1::ServerInfo info;
    ASSERT_TRUE(v1::ServerService::NewStub(toy_.As(kBob))->GetServerInfo(&other, {}, &info).ok());
  }
  EXPECT_LT(toy_.session_service.probe->pulls, 200);
  context.TryCancel();
  watch->Finish();
  EXPECT_TRUE(Gone(toy_.session_service.probe));
}

TEST_F(StreamTest, ACancelledWatchFreesItsFeedAtOnce) {
  toy_.session_service.afterwards = Pull::kWait;
  const auto stub = Sessions();
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  ASSERT_TRUE(watch->Read(&message));
  context.TryCancel();
  EXPECT_TRUE(Gone(toy_.session_service.probe));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamTest, ADeadlineEndsAWatchToo) {
  toy_.session_service.afterwards = Pull::kWait;
  const auto stub = Sessions();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  while (watch->Read(&message)) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  if (toy_.session_service.probe->opened.HasBeenNotified()) {
    EXPECT_TRUE(Gone(toy_.session_service.probe));
  }
}

TEST_F(StreamTest, AWakeMakesAWaitingStreamLookAgain) {
  Waker wake;
  toy_.session_service.wake = &wake;
  toy_.session_service.messages = 1;
  toy_.session_service.afterwards = Pull::kWait;
  const auto stub = Sessions();
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  ASSERT_TRUE(watch->Read(&message));
  // The feed compares with its count: one less is one more message to come.
  toy_.session_service.probe->pulls = 0;
  wake();
  ASSERT_TRUE(watch->Read(&message));
  context.TryCancel();
  watch->Finish();
}

TEST_F(StreamTest, AStreamEndsWhenItsCallerHasAnotherRole) {
  Waker wake;
  toy_.session_service.wake = &wake;
  toy_.session_service.messages = 1;
  toy_.session_service.afterwards = Pull::kWait;
  const auto stub = Sessions(kBob);
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  ASSERT_TRUE(watch->Read(&message));
  toy_.gate.CheckStreamsAgain();
  toy_.session_service.probe->pulls = 0;
  wake();
  ASSERT_TRUE(watch->Read(&message)) << "nothing has changed";
  access::AccessPolicy policy = TestAccounts::Policy();
  policy.users["bob"] = access::Role::kViewer;
  toy_.users.SetPolicy(policy);
  toy_.gate.CheckStreamsAgain();
  EXPECT_FALSE(watch->Read(&message));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(StreamTest, DrainingEndsStreamsWithAReasonAndRefusesCalls) {
  toy_.session_service.afterwards = Pull::kWait;
  const auto stub = Sessions();
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  ASSERT_TRUE(watch->Read(&message));
  toy_.gate.Drain();
  while (watch->Read(&message)) {
  }
  const absl::Status end = FromGrpcStatus(watch->Finish());
  EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(HasReason(end, Reason::kDraining));
  grpc::ClientContext late;
  v1::ServerInfo info;
  const absl::Status refused =
      FromGrpcStatus(v1::ServerService::NewStub(toy_.As(kAlice))->GetServerInfo(&late, {}, &info));
  EXPECT_TRUE(HasReason(refused, Reason::kDraining));
}

TEST_F(StreamTest, ShutdownCutsAReaderThatStandsStillWhenItsGraceIsOver) {
  toy_.session_service.messages = 100'000;
  toy_.session_service.message_bytes = 64 << 10;
  const auto stub = Sessions();
  grpc::ClientContext context;
  const Watch watch = stub->WatchSession(&context, {});
  v1::Session message;
  ASSERT_TRUE(watch->Read(&message));
  toy_.server->Shutdown(absl::Milliseconds(100));
  EXPECT_TRUE(Gone(toy_.session_service.probe));
  context.TryCancel();
  watch->Finish();
}

class LimitedStreamTest : public StreamTest {
 protected:
  LimitedStreamTest() : StreamTest(Limits()) {}
  static GateLimits Limits() {
    GateLimits limits;
    limits.max_streams_per_user = 1;
    return limits;
  }
};

TEST_F(LimitedStreamTest, StreamsBeyondACallersLimitAreRefusedAndPlacesComeBack) {
  toy_.session_service.afterwards = Pull::kWait;
  const auto stub = Sessions();
  grpc::ClientContext first_context;
  const Watch first = stub->WatchSession(&first_context, {});
  v1::Session message;
  ASSERT_TRUE(first->Read(&message));
  {
    grpc::ClientContext context;
    const Watch second = stub->WatchSession(&context, {});
    EXPECT_FALSE(second->Read(&message));
    const absl::Status status = FromGrpcStatus(second->Finish());
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(GetErrorDetail(status)->metadata.at("limit"), "1");
  }
  const std::shared_ptr<Probe> probe =
      std::exchange(toy_.session_service.probe, std::make_shared<Probe>());
  first_context.TryCancel();
  first->Finish();
  ASSERT_TRUE(Gone(probe));
  grpc::ClientContext context;
  const Watch bobs = Sessions(kBob)->WatchSession(&context, {});
  EXPECT_TRUE(bobs->Read(&message));
  context.TryCancel();
  bobs->Finish();
}

TEST_F(StreamTest, ADuplexStreamEchoesInOrderAndEndsAfterTheHalfClose) {
  const auto stub = Sessions();
  grpc::ClientContext context;
  const auto stream = stub->AttachGdb(&context);
  v1::GdbClientFrame out;
  out.mutable_start()->set_name("vm-1");
  ASSERT_TRUE(stream->Write(out));
  v1::GdbServerFrame in;
  for (int i = 0; i < 100; ++i) {
    out.set_rsp("$" + std::to_string(i));
    ASSERT_TRUE(stream->Write(out));
    ASSERT_TRUE(stream->Read(&in));
    EXPECT_EQ(in.rsp(), "$" + std::to_string(i));
  }
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&in));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(toy_.session_service.probe->ended);
}

TEST_F(StreamTest, ADuplexClientThatVanishesFreesItsTalk) {
  {
    const auto stub = Sessions();
    grpc::ClientContext context;
    const auto stream = stub->AttachGdb(&context);
    v1::GdbClientFrame out;
    out.mutable_start()->set_name("vm-1");
    ASSERT_TRUE(stream->Write(out));
    out.set_rsp("$x");
    ASSERT_TRUE(stream->Write(out));
    v1::GdbServerFrame in;
    ASSERT_TRUE(stream->Read(&in));
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_TRUE(Gone(toy_.session_service.probe));
}

TEST_F(StreamTest, AnUploadArrivesWholeAndInOrder) {
  grpc::ClientContext context;
  v1::Upload answer;
  const auto stub = v1::SourceService::NewStub(toy_.As(kAlice));
  const auto writer = stub->WriteUpload(&context, &answer);
  v1::WriteUploadRequest message;
  for (int i = 0; i < 64; ++i) {
    message.set_data(std::string(1, static_cast<char>('0' + i)) +
                     std::string(i == 63 ? 1000 : 0, 'z'));
    ASSERT_TRUE(writer->Write(message));
  }
  writer->WritesDone();
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(answer.received_bytes(), 64 + 1000);
  EXPECT_EQ(answer.sha256()[5], '5');
}

TEST_F(StreamTest, AnUploadThatBreaksIsGivenUpAndNotEnded) {
  grpc::ClientContext context;
  v1::Upload answer;
  const auto stub = v1::SourceService::NewStub(toy_.As(kAlice));
  const auto writer = stub->WriteUpload(&context, &answer);
  v1::WriteUploadRequest message;
  message.set_data("half");
  ASSERT_TRUE(writer->Write(message));
  ASSERT_TRUE(toy_.source_service.probe->opened.WaitForNotificationWithTimeout(kPatience));
  context.TryCancel();
  writer->Finish();
  EXPECT_TRUE(Gone(toy_.source_service.probe));
  EXPECT_FALSE(toy_.source_service.probe->ended);
}

TEST_F(StreamTest, AMessageBeyondTheLimitIsRefusedAndTheServerLives) {
  grpc::ClientContext context;
  v1::Upload answer;
  const auto stub = v1::SourceService::NewStub(toy_.As(kAlice));
  const auto writer = stub->WriteUpload(&context, &answer);
  v1::WriteUploadRequest message;
  message.set_data(std::string(9 << 20, 'x'));
  writer->Write(message);
  writer->WritesDone();
  EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  grpc::ClientContext again;
  v1::ServerInfo info;
  EXPECT_TRUE(v1::ServerService::NewStub(toy_.As(kAlice))->GetServerInfo(&again, {}, &info).ok());
}

}  // namespace
}  // namespace kdbg::service
