#include "server/access/check.h"

#include <gtest/gtest.h>

#include <string>

#include "proto/contract/error.h"

namespace kdbg::access {
namespace {

// One character an outcome: y allowed, d PERMISSION_DENIED, h NOT_FOUND (hidden).
char Outcome(const absl::Status& status) {
  if (status.ok()) return 'y';
  if (status.code() == absl::StatusCode::kPermissionDenied) return 'd';
  if (status.code() == absl::StatusCode::kNotFound) return 'h';
  return '?';
}

constexpr Role kRoles[] = {Role::kNone, Role::kViewer, Role::kUser, Role::kAdmin};

std::string OutcomesByRole(Verb verb, const Resource& resource) {
  std::string outcomes;
  for (const Role role : kRoles) outcomes += Outcome(Check({"alice", role, {}}, verb, resource));
  return outcomes;
}

struct Row {
  Verb verb;
  // none, viewer, user, admin; for a resource of the caller's own, one others may read, one shared
  // for control, and one that is hidden.
  const char* own;
  const char* read;
  const char* control;
  const char* hidden;
};

constexpr Row kRows[] = {
    {Verb::kSee, "dyyy", "dyyy", "dyyy", "dhhy"},
    {Verb::kRead, "dyyy", "dyyy", "dyyy", "dhhy"},
    {Verb::kUse, "ddyy", "ddyy", "ddyy", "dhhy"},
    {Verb::kKeep, "ddyy", "ddyy", "ddyy", "dhhy"},
    {Verb::kControl, "ddyy", "dddy", "ddyy", "dhhy"},
    {Verb::kDelete, "ddyy", "dddy", "dddy", "dhhy"},
    {Verb::kShare, "ddyy", "dddy", "dddy", "dhhy"},
};

TEST(CheckTest, SessionsFollowTheMatrix) {
  for (const Row& row : kRows) {
    SCOPED_TRACE(VerbName(row.verb));
    Resource session{ResourceKind::kSession, "sessions/vm-1", "alice", false, Sharing::kNone};
    EXPECT_EQ(OutcomesByRole(row.verb, session), row.own);
    session.owner = "bob";
    EXPECT_EQ(OutcomesByRole(row.verb, session), row.hidden);
    session.shared = Sharing::kRead;
    EXPECT_EQ(OutcomesByRole(row.verb, session), row.read);
    session.shared = Sharing::kControl;
    EXPECT_EQ(OutcomesByRole(row.verb, session), row.control);
  }
}

TEST(CheckTest, BuildsAndArtifactsAreReadByAllUnlessPrivate) {
  for (const ResourceKind kind : {ResourceKind::kBuild, ResourceKind::kArtifact}) {
    for (const Row& row : kRows) {
      SCOPED_TRACE(VerbName(row.verb));
      Resource build{kind, "builds/b-1", "bob", false, Sharing::kNone};
      EXPECT_EQ(OutcomesByRole(row.verb, build), row.read);
      build.is_private = true;
      EXPECT_EQ(OutcomesByRole(row.verb, build), row.hidden);
      build.shared = Sharing::kRead;
      EXPECT_EQ(OutcomesByRole(row.verb, build), row.read);
      build.shared = Sharing::kNone;
      build.owner = "alice";
      EXPECT_EQ(OutcomesByRole(row.verb, build), row.own);
    }
  }
}

TEST(CheckTest, SourcesAndUploadsAreTheirOwnersAlone) {
  for (const ResourceKind kind : {ResourceKind::kSource, ResourceKind::kUpload}) {
    for (const Row& row : kRows) {
      SCOPED_TRACE(VerbName(row.verb));
      EXPECT_EQ(OutcomesByRole(row.verb, {kind, "sources/s-1", "bob", false, Sharing::kControl}),
                row.hidden);
      EXPECT_EQ(OutcomesByRole(row.verb, {kind, "sources/s-1", "alice", false, Sharing::kNone}),
                row.own);
    }
  }
}

TEST(CheckTest, CollectionsGoByRoleAlone) {
  const Resource builds{ResourceKind::kBuild, "builds", "", false, Sharing::kNone};
  EXPECT_EQ(OutcomesByRole(Verb::kList, builds), "dyyy");
  EXPECT_EQ(OutcomesByRole(Verb::kCreate, builds), "ddyy");
  EXPECT_EQ(OutcomesByRole(Verb::kInform, {}), "dyyy");
  EXPECT_EQ(OutcomesByRole(Verb::kEnroll, {}), "yyyy");
  EXPECT_EQ(OutcomesByRole(Verb::kRenew, {}), "dyyy");
  EXPECT_EQ(OutcomesByRole(Verb::kManageUsers, {}), "dddy");
}

TEST(CheckTest, ARefusalSaysWhoMayNotDoWhatAndWhomToAsk) {
  const absl::Status status =
      Check({"alice", Role::kUser, 1000}, Verb::kDelete,
            {ResourceKind::kBuild, "builds/b-1", "bob", false, Sharing::kNone});
  EXPECT_TRUE(HasReason(status, Reason::kPermissionDenied));
  EXPECT_EQ(std::string(status.message()),
            "alice (role user) may not delete builds/b-1: ask bob or an admin");
  EXPECT_EQ(GetErrorDetail(status)->metadata,
            (ErrorMetadata{{"user", "alice"}, {"verb", "delete"}, {"resource", "builds/b-1"}}));
}

TEST(CheckTest, AnEmptyOwnerIsNobodysOwn) {
  EXPECT_EQ(OutcomesByRole(Verb::kSee, {ResourceKind::kSession, "sessions/x", "", false, {}}),
            "dhhy");
  EXPECT_EQ(Outcome(Check({"", Role::kUser, {}}, Verb::kSee,
                          {ResourceKind::kSession, "sessions/x", "", false, Sharing::kNone})),
            'h');
}

TEST(RoleTest, NamesLeadBack) {
  for (const Role role : kRoles) EXPECT_EQ(RoleFromName(RoleName(role)), role);
  EXPECT_FALSE(RoleFromName("root"));
}

}  // namespace
}  // namespace kdbg::access
