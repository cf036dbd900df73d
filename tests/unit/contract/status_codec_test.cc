#include "proto/contract/status_codec.h"

#include <gtest/gtest.h>

#include <string>

#include "kdbg/v1/common.pb.h"
#include "proto/contract/error.h"

namespace kdbg {
namespace {

constexpr absl::StatusCode kAllFailures[] = {
    absl::StatusCode::kCancelled,          absl::StatusCode::kUnknown,
    absl::StatusCode::kInvalidArgument,    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kNotFound,           absl::StatusCode::kAlreadyExists,
    absl::StatusCode::kPermissionDenied,   absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kFailedPrecondition, absl::StatusCode::kAborted,
    absl::StatusCode::kOutOfRange,         absl::StatusCode::kUnimplemented,
    absl::StatusCode::kInternal,           absl::StatusCode::kUnavailable,
    absl::StatusCode::kDataLoss,           absl::StatusCode::kUnauthenticated,
};

TEST(StatusCodecTest, EveryCodeSurvivesTheRoundTripWithReasonAndMetadata) {
  for (const absl::StatusCode code : kAllFailures) {
    SCOPED_TRACE(static_cast<int>(code));
    const absl::Status original = MakeError(code, Reason::kQueueFull, "the queue is full: wait",
                                            {{"queue", "64"}}, absl::Milliseconds(1500));
    const absl::Status back = FromGrpcStatus(ToGrpcStatus(original));
    EXPECT_EQ(back, original);
    const auto detail = GetErrorDetail(back);
    ASSERT_TRUE(detail);
    EXPECT_EQ(detail->reason, "QUEUE_FULL");
    EXPECT_EQ(detail->metadata, (ErrorMetadata{{"queue", "64"}}));
    EXPECT_EQ(detail->retry_delay, absl::Milliseconds(1500));
  }
}

TEST(StatusCodecTest, OkStaysOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusCodecTest, AStatusWithoutAReasonLeavesWithExactlyOneErrorInfo) {
  const grpc::Status sent = ToGrpcStatus(absl::InternalError("no such table"));
  v1::RpcStatus details;
  ASSERT_TRUE(details.ParseFromString(sent.error_details()));
  ASSERT_EQ(details.details_size(), 1);
  v1::ErrorInfo info;
  ASSERT_TRUE(details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "REASON_UNSPECIFIED");
  EXPECT_EQ(info.domain(), "kdbg");
  EXPECT_EQ(details.code(), static_cast<int>(grpc::StatusCode::INTERNAL));
  EXPECT_EQ(details.message(), sent.error_message());
}

TEST(StatusCodecTest, AStatusOfGrpcItselfComesWithoutAReason) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(GetErrorDetail(status));
}

TEST(StatusCodecTest, GarbageInTheDetailsIsIgnored) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::NOT_FOUND, "x", "\xff\xff garbage"));
  EXPECT_EQ(status, absl::NotFoundError("x"));
}

TEST(StatusCodecTest, WhatIsTooLongForTrailersIsCutAndTheReasonStays) {
  ErrorMetadata metadata;
  for (int i = 0; i < 100; ++i) metadata["key" + std::to_string(i)] = std::string(10000, 'v');
  const grpc::Status sent =
      ToGrpcStatus(MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
                             std::string(1 << 20, 'm'), metadata));
  EXPECT_LT(sent.error_message().size() + sent.error_details().size(), 6000u);
  EXPECT_TRUE(HasReason(FromGrpcStatus(sent), Reason::kConfigInvalid));
}

TEST(StatusCodecTest, BytesThatAreNotUtf8DoNotLoseTheReason) {
  const absl::Status status = MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid,
                                        "name 'caf\xe9'", {{"value", "caf\xe9"}});
  const absl::Status back = FromGrpcStatus(ToGrpcStatus(status));
  const auto detail = GetErrorDetail(back);
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->reason, "FIELD_INVALID");
  EXPECT_EQ(detail->metadata.at("value"), "caf\xEF\xBF\xBD");
}

TEST(ReasonTest, EveryNameLeadsBackToItsReason) {
  for (int i = 0; i <= static_cast<int>(Reason::kDraining); ++i) {
    const auto reason = static_cast<Reason>(i);
    EXPECT_EQ(ReasonFromName(ReasonName(reason)), reason);
  }
  EXPECT_FALSE(ReasonFromName("NO_SUCH_REASON"));
}

}  // namespace
}  // namespace kdbg
