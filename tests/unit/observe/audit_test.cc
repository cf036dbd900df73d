#include "server/observe/audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace kdbg::observe {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

AuditRecord Cancelled() {
  return {.action = "BuildService/CancelBuild",
          .user = "alice",
          .from = "10.0.0.7:41234",
          .result = "OK",
          .why = "",
          .resources = {"builds/b-7"},
          .request = "0b0f7c52-5f6f"};
}

TEST(AuditTest, ALineSaysWhoWhatFromWhereAndHowItEnded) {
  EXPECT_EQ(ToLine(Cancelled()),
            "audit: BuildService/CancelBuild by alice from 10.0.0.7:41234: OK builds/b-7 request "
            "0b0f7c52-5f6f");
}

TEST(AuditTest, TheJournalHasEachInAFieldOfItsOwn) {
  AuditRecord record = Cancelled();
  record.resources = {"builds/b-7", "sessions/vm-1", "users/bob"};
  const auto fields = JournalFields(record);
  for (const char* field :
       {"USER=alice", "ACTION=BuildService/CancelBuild", "FROM=10.0.0.7:41234", "RESULT=OK",
        "REQUEST=0b0f7c52-5f6f", "BUILD=b-7", "SESSION=vm-1", "ACCOUNT=bob", "PRIORITY=5"}) {
    EXPECT_THAT(fields, Contains(field));
  }
  EXPECT_THAT(fields, Contains(StartsWith("MESSAGE_ID=")));
}

TEST(AuditTest, WhatDoesNotApplyIsNotThere) {
  AuditRecord record = Cancelled();
  record.user = "";
  record.request = "";
  record.resources = {};
  record.result = "UNAUTHENTICATED";
  record.why = "no identity came with the call";
  const auto fields = JournalFields(record);
  EXPECT_THAT(fields, Not(Contains(StartsWith("USER="))));
  EXPECT_THAT(fields, Not(Contains(StartsWith("REQUEST="))));
  EXPECT_THAT(fields, Contains("PRIORITY=4"));
  EXPECT_THAT(fields.front(), HasSubstr("by nobody known"));
  EXPECT_THAT(fields.front(), HasSubstr("no identity came"));
}

TEST(AuditTest, WhateverACallerWroteStaysOneShortLine) {
  AuditRecord record = Cancelled();
  record.user = "eve\nUSER=root\x1b[2J";
  record.why = std::string(100'000, 'x');
  record.resources = std::vector<std::string>(1000, "users/" + std::string(10'000, 'y'));
  const std::string line = ToLine(record);
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  EXPECT_LT(line.size(), 4000u);
  const auto fields = JournalFields(record);
  EXPECT_LT(fields.size(), 20u);
  EXPECT_THAT(fields, Each(SizeIs(testing::Lt(4000u))));
  EXPECT_THAT(fields, Not(Contains("USER=root")));
}

}  // namespace
}  // namespace kdbg::observe
