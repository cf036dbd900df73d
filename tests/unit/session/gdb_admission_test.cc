#include "server/session/gdb_admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace kdbg::session {
namespace {

using gdb::Attachment;
using ::testing::HasSubstr;

std::optional<uid_t> UidOf(const std::string& user) {
  static const std::map<std::string, uid_t> uids = {{"alice", 4001}, {"bob", 4002}, {"eve", 4003}};
  const auto found = uids.find(user);
  return found == uids.end() ? std::nullopt : std::optional(found->second);
}

Attachment Local(uid_t uid) {
  return {.client = "tcp", .origin = Attachment::Origin::kThisHost, .uid = uid};
}

Attachment From(const std::string& address) {
  return {.client = "tcp", .origin = Attachment::Origin::kElsewhere, .uid = 0, .address = address};
}

class GdbAdmissionTest : public ::testing::Test {
 protected:
  GdbAdmissionTest() {
    record_.id = "vm-1";
    record_.owner = "alice";
    admission_.Know(record_);
  }

  SessionRecord record_;
  GdbAdmission admission_{UidOf, {*Network::Parse("10.1.0.0/16")}};
};

TEST_F(GdbAdmissionTest, OfThisHostsUsersOnlyTheOwnerAndRootComeIn) {
  EXPECT_TRUE(admission_.Admit(Local(4001)).ok());
  EXPECT_TRUE(admission_.Admit(Local(0)).ok());
  const absl::Status refused = admission_.Admit(Local(4002));
  EXPECT_TRUE(absl::IsPermissionDenied(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("vm-1 is alice's"));
}

TEST_F(GdbAdmissionTest, AColleagueComesInWhileTheyMayControl) {
  using Access = SessionShare::Access;
  record_.shares = {
      {"bob", Access::kControl}, {"eve", Access::kRead}, {"nobody-here", Access::kControl}};
  admission_.Know(record_);
  EXPECT_TRUE(admission_.Admit(Local(4002)).ok());
  EXPECT_FALSE(admission_.Admit(Local(4003)).ok());
  record_.shares.clear();
  admission_.Know(record_);
  EXPECT_FALSE(admission_.Admit(Local(4002)).ok());
}

TEST_F(GdbAdmissionTest, OtherHostsComeInWhereTheConfigurationNamesThem) {
  EXPECT_TRUE(admission_.Admit(From("10.1.2.3")).ok());
  const absl::Status refused = admission_.Admit(From("192.0.2.1"));
  EXPECT_TRUE(absl::IsPermissionDenied(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("gdb-pipe vm-1"));
}

TEST_F(GdbAdmissionTest, WhoCameIsNamedAsFarAsItIsKnown) {
  EXPECT_EQ(admission_.UserOf(Local(4001)), "alice");
  EXPECT_EQ(admission_.UserOf(Local(0)), "root");
  EXPECT_EQ(admission_.UserOf(Local(4003)), "uid:4003");
  EXPECT_EQ(admission_.UserOf(From("10.1.2.3")), "");
}

TEST_F(GdbAdmissionTest, WhoHasProvedItIsNotAskedAgain) {
  EXPECT_TRUE(admission_.Admit({.client = "user bob"}).ok());
}

}  // namespace
}  // namespace kdbg::session
