#include "server/access/users.h"

#include <gtest/gtest.h>

#include <map>

namespace kdbg::access {
namespace {

class FakeAccounts final : public Accounts {
 public:
  std::optional<Account> Find(uid_t uid) const override {
    ++lookups;
    const auto found = accounts.find(uid);
    if (found == accounts.end()) return std::nullopt;
    return found->second;
  }
  std::optional<uid_t> UidOf(const std::string& name) const override {
    for (const auto& [uid, account] : accounts) {
      if (account.name == name) return uid;
    }
    return std::nullopt;
  }
  std::map<uid_t, Account> accounts = {{0, {"root", {"root"}}},
                                       {1000, {"alice", {"alice", "kernel"}}},
                                       {1001, {"bob", {"bob", "kernel", "guests"}}},
                                       {1002, {"carol", {"carol", "guests"}}},
                                       {998, {"kdbgd", {"kdbgd"}}}};
  mutable int lookups = 0;
};

class HandClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::UnixEpoch() + now; }
  absl::Duration Monotonic() const override { return now; }
  absl::Duration now = absl::Hours(1);
};

class UsersTest : public testing::Test {
 protected:
  Role RoleOf(uid_t uid, AccessPolicy policy) {
    return Users(std::move(policy), accounts_, clock_, 998).FromUid(uid).role;
  }
  FakeAccounts accounts_;
  HandClock clock_;
};

TEST_F(UsersTest, RootAndTheDaemonsOwnUidAreAdminsWhateverThePolicySays) {
  const AccessPolicy policy{.users = {{"root", Role::kNone}, {"kdbgd", Role::kViewer}},
                            .groups = {},
                            .others = Role::kNone};
  EXPECT_EQ(RoleOf(0, policy), Role::kAdmin);
  EXPECT_EQ(RoleOf(998, policy), Role::kAdmin);
  EXPECT_EQ(RoleOf(1000, policy), Role::kNone);
}

TEST_F(UsersTest, AnotherPolicyHoldsAtOnce) {
  Users users({}, accounts_, clock_, 998);
  EXPECT_EQ(users.FromUid(1000).role, Role::kUser);
  users.SetPolicy({.users = {{"alice", Role::kViewer}}, .groups = {}, .others = Role::kNone});
  EXPECT_EQ(users.FromUid(1000).role, Role::kViewer);
  EXPECT_EQ(users.FromUid(1001).role, Role::kNone);
}

TEST_F(UsersTest, EverybodyElseIsAUserByDefault) {
  EXPECT_EQ(RoleOf(1000, {}), Role::kUser);
  EXPECT_EQ(RoleOf(4711, {}), Role::kUser);
}

TEST_F(UsersTest, AnOwnEntryWinsOverGroupsAndAmongGroupsTheHighestRole) {
  const AccessPolicy policy{.users = {{"alice", Role::kViewer}, {"uid:4711", Role::kAdmin}},
                            .groups = {{"kernel", Role::kAdmin}, {"guests", Role::kViewer}},
                            .others = Role::kNone};
  EXPECT_EQ(RoleOf(1000, policy), Role::kViewer);
  EXPECT_EQ(RoleOf(1001, policy), Role::kAdmin);
  EXPECT_EQ(RoleOf(1002, policy), Role::kViewer);
  EXPECT_EQ(RoleOf(4711, policy), Role::kAdmin);
}

TEST_F(UsersTest, AUidWithoutAnAccountHasANameNoAccountCanHave) {
  Users users({}, accounts_, clock_, 998);
  const Principal principal = users.FromUid(4711);
  EXPECT_EQ(principal.user, "uid:4711");
  EXPECT_EQ(principal.uid, 4711u);
}

TEST_F(UsersTest, AnAnswerIsKeptForAMinute) {
  Users users({}, accounts_, clock_, 998);
  users.FromUid(1000);
  clock_.now += absl::Seconds(59);
  users.FromUid(1000);
  EXPECT_EQ(accounts_.lookups, 1);
  clock_.now += absl::Seconds(2);
  accounts_.accounts[1000].name = "alicia";
  EXPECT_EQ(users.FromUid(1000).user, "alicia");
  EXPECT_EQ(accounts_.lookups, 2);
}

TEST_F(UsersTest, TheConfigurationNamesAdminsAndViewers) {
  config::Access access;
  access.admins = {"alice"};
  access.viewers = {"bob"};
  access.others_are_users = false;
  const AccessPolicy policy = PolicyFrom(access);
  EXPECT_EQ(RoleOf(1000, policy), Role::kAdmin);
  EXPECT_EQ(RoleOf(1001, policy), Role::kViewer);
  EXPECT_EQ(RoleOf(1002, policy), Role::kNone);
}

TEST(SystemAccountsTest, FindsRootByName) {
  const auto root = SystemAccounts().Find(0);
  ASSERT_TRUE(root);
  EXPECT_EQ(root->name, "root");
}

}  // namespace
}  // namespace kdbg::access
