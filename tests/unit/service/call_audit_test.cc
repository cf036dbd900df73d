#include "server/service/call_audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kdbg::service {
namespace {

using ::testing::ElementsAre;
using Part = CallReport::Part;

class CallAuditTest : public ::testing::Test {
 protected:
  std::optional<observe::AuditRecord> Of(const RpcRule& rule, const absl::Status& status,
                                         Part part = Part::kWhole) {
    return AuditOf({.rule = rule,
                    .caller = caller_,
                    .status = status,
                    .took = absl::Milliseconds(1),
                    .is_stream = false,
                    .part = part,
                    .resources = {"builds/b-7"},
                    .request_id = ""});
  }

  const Caller caller_{.principal = {.user = "alice", .role = access::Role::kUser, .uid = {}},
                       .from = "unix",
                       .address = "unix"};
};

TEST_F(CallAuditTest, WhatChangesSomethingIsKeptHoweverItEnds) {
  EXPECT_TRUE(Of(Rpc("BuildService/CancelBuild"), absl::OkStatus()));
  const auto failed = Of(Rpc("BuildService/CancelBuild"), absl::InternalError("a bug"));
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->result, "INTERNAL");
  EXPECT_EQ(failed->why, "a bug");
  EXPECT_THAT(failed->resources, ElementsAre("builds/b-7"));
}

TEST_F(CallAuditTest, ALookIsKeptOnlyIfItWasRefusedForLackOfRights) {
  EXPECT_FALSE(Of(Rpc("BuildService/GetBuild"), absl::OkStatus()));
  EXPECT_FALSE(Of(Rpc("BuildService/GetBuild"), absl::NotFoundError("")));
  EXPECT_TRUE(Of(Rpc("BuildService/GetBuild"), absl::PermissionDeniedError("")));
  EXPECT_TRUE(Of(Rpc("BuildService/GetBuild"), absl::UnauthenticatedError("")));
}

TEST_F(CallAuditTest, AConversationIsKeptWhenItBeginsAndNotAgain) {
  EXPECT_TRUE(Of(Rpc("SessionService/AttachGdb"), absl::OkStatus(), Part::kBeginning));
  EXPECT_FALSE(Of(Rpc("SessionService/AttachGdb"), absl::CancelledError(""), Part::kEnd));
}

TEST(GdbVisitAuditTest, WhoWasTurnedAwayFromAPortIsKeptWithTheReason) {
  const observe::AuditRecord record =
      AuditOf(session::GdbVisit{.session = "vm-1",
                                .user = "uid:4003",
                                .from = "tcp 127.0.0.1:51234",
                                .admitted = absl::PermissionDeniedError("vm-1 is alice's")});
  EXPECT_EQ(record.user, "uid:4003");
  EXPECT_EQ(record.result, "PERMISSION_DENIED");
  EXPECT_EQ(record.why, "vm-1 is alice's");
  EXPECT_THAT(record.resources, ElementsAre("sessions/vm-1"));
}

}  // namespace
}  // namespace kdbg::service
