// Every RPC of the contract x role x whose resource it is about.
#include "server/service/rpc_table.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "kdbg/v1/artifact_service.pb.h"
#include "kdbg/v1/build_service.pb.h"
#include "kdbg/v1/server_service.pb.h"
#include "kdbg/v1/session_service.pb.h"
#include "kdbg/v1/source_service.pb.h"
#include "kdbg/v1/user_service.pb.h"
#include "server/access/check.h"

namespace kdbg::service {
namespace {

using access::Resource;
using access::ResourceKind;
using access::Role;
using access::Sharing;

// Outcomes by role none, viewer, user, admin: y allowed, d PERMISSION_DENIED, h NOT_FOUND.
struct Row {
  const char* own;
  const char* shared;      // others', not private; a session shared for reading
  const char* controlled;  // a session shared for control; the same as `shared` for all else
  const char* hidden;      // others', private or not shared
};

constexpr Row kSee = {"dyyy", "dyyy", "dyyy", "dhhy"};
constexpr Row kKeep = {"ddyy", "ddyy", "ddyy", "dhhy"};
constexpr Row kControl = {"ddyy", "dddy", "ddyy", "dhhy"};
constexpr Row kOwnersOnly = {"ddyy", "dddy", "dddy", "dhhy"};
// Sources and uploads are never shared.
constexpr Row kSeeOwn = {"dyyy", "dhhy", "dhhy", "dhhy"};
constexpr Row kUseOwn = {"ddyy", "dhhy", "dhhy", "dhhy"};
// A build or an artifact is shared for reading at most.
constexpr Row kControlUnshared = {"ddyy", "dddy", "dddy", "dhhy"};
// About no resource of anybody.
constexpr Row kAnyRole = {"dyyy", "dyyy", "dyyy", "dyyy"};
constexpr Row kMake = {"ddyy", "ddyy", "ddyy", "ddyy"};
constexpr Row kAdmins = {"dddy", "dddy", "dddy", "dddy"};
constexpr Row kEverybody = {"yyyy", "yyyy", "yyyy", "yyyy"};

const std::map<std::string, Row> kMatrix = {
    {"SourceService/CreateUpload", kMake},
    {"SourceService/GetUpload", kSeeOwn},
    {"SourceService/WriteUpload", kUseOwn},
    {"SourceService/QueryKnownObjects", kMake},
    {"SourceService/CreateSource", kMake},
    {"SourceService/GetSource", kSeeOwn},
    {"SourceService/ListSources", kAnyRole},
    {"SourceService/WatchSource", kSeeOwn},
    {"SourceService/DeleteSource", kUseOwn},
    {"SourceService/ReadSourceFiles", kSeeOwn},
    {"SourceService/TrustSource", kAdmins},

    {"BuildService/CreateBuild", kMake},
    {"BuildService/GetBuild", kSee},
    {"BuildService/ListBuilds", kAnyRole},
    {"BuildService/WatchBuild", kSee},
    {"BuildService/ReadBuildLog", kSee},
    {"BuildService/CancelBuild", kControlUnshared},
    {"BuildService/DeleteBuild", kOwnersOnly},
    {"BuildService/ShareBuild", kOwnersOnly},
    {"BuildService/ConfigureKernel", kMake},

    {"ArtifactService/GetArtifact", kSee},
    {"ArtifactService/ListArtifacts", kAnyRole},
    {"ArtifactService/ReadArtifactFile", kSee},
    {"ArtifactService/PinArtifact", kKeep},
    {"ArtifactService/UnpinArtifact", kKeep},
    {"ArtifactService/DeleteArtifact", kOwnersOnly},
    {"ArtifactService/PruneArtifacts", kOwnersOnly},

    {"SessionService/CreateSession", kMake},
    {"SessionService/GetSession", kSee},
    {"SessionService/ListSessions", kAnyRole},
    {"SessionService/WatchSession", kSee},
    {"SessionService/DeleteSession", kOwnersOnly},
    {"SessionService/RenewSession", kControl},
    {"SessionService/PauseSession", kControl},
    {"SessionService/ResumeSession", kControl},
    {"SessionService/ResetSession", kControl},
    {"SessionService/SaveSession", kControl},
    {"SessionService/RestoreSession", kMake},
    {"SessionService/DumpSession", kControl},
    {"SessionService/ShareSession", kOwnersOnly},
    {"SessionService/ReadConsole", kSee},
    {"SessionService/AttachConsole", kControl},
    {"SessionService/AttachGdb", kControl},

    {"ServerService/GetServerInfo", kAnyRole},
    {"ServerService/WatchActivity", kAnyRole},
    {"ServerService/Drain", kAdmins},
    {"ServerService/Undrain", kAdmins},

    {"UserService/CreateEnrollment", kAdmins},
    {"UserService/Enroll", kEverybody},
    {"UserService/RenewCertificate", kAnyRole},
    {"UserService/ListUsers", kAdmins},
    {"UserService/RevokeUser", kAdmins},
    {"UserService/DeleteUser", kAdmins},
};

std::string Outcomes(const RpcRule& rule, const Resource& resource) {
  std::string outcomes;
  for (const Role role : {Role::kNone, Role::kViewer, Role::kUser, Role::kAdmin}) {
    const absl::Status status = access::Check({"alice", role, {}}, rule.verb, resource);
    outcomes += status.ok() ? 'y' : status.code() == absl::StatusCode::kNotFound ? 'h' : 'd';
  }
  return outcomes;
}

std::set<std::string> RpcsOfTheContract() {
  std::set<std::string> rpcs;
  for (const auto* file : {v1::Source::descriptor()->file(), v1::Build::descriptor()->file(),
                           v1::Artifact::descriptor()->file(), v1::Session::descriptor()->file(),
                           v1::ServerInfo::descriptor()->file(), v1::User::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      const auto* service = file->service(i);
      for (int j = 0; j < service->method_count(); ++j) {
        rpcs.insert(service->name() + "/" + service->method(j)->name());
      }
    }
  }
  return rpcs;
}

TEST(RpcTableTest, EveryRpcOfTheContractHasOneRowAndARowInTheMatrix) {
  const std::set<std::string> contract = RpcsOfTheContract();
  EXPECT_GT(contract.size(), 40u);
  std::set<std::string> table;
  for (const RpcRule& rule : kRpcTable) {
    EXPECT_TRUE(table.insert(std::string(rule.method)).second) << rule.method << " twice";
  }
  std::set<std::string> matrix;
  for (const auto& [method, row] : kMatrix) matrix.insert(method);
  EXPECT_EQ(table, contract);
  EXPECT_EQ(matrix, contract);
}

TEST(RpcTableTest, EveryRpcFollowsTheMatrix) {
  for (const RpcRule& rule : kRpcTable) {
    SCOPED_TRACE(rule.method);
    const Row& row = kMatrix.at(std::string(rule.method));
    Resource resource;
    resource.kind = rule.kind;
    resource.name = "x/1";
    resource.owner = "alice";
    resource.is_private = true;
    EXPECT_EQ(Outcomes(rule, resource), row.own);
    resource.owner = "bob";
    EXPECT_EQ(Outcomes(rule, resource), row.hidden);
    resource.is_private = false;
    resource.shared = Sharing::kRead;
    EXPECT_EQ(Outcomes(rule, resource), row.shared);
    resource.shared = Sharing::kControl;
    EXPECT_EQ(Outcomes(rule, resource), row.controlled);
  }
}

// What is said before the resource is known must not contradict what is said after.
TEST(RpcTableTest, TheRoleAloneRefusesWhatEveryResourceWouldRefuse) {
  for (const RpcRule& rule : kRpcTable) {
    SCOPED_TRACE(rule.method);
    const Row& row = kMatrix.at(std::string(rule.method));
    std::string allowed;
    for (const Role role : {Role::kNone, Role::kViewer, Role::kUser, Role::kAdmin}) {
      allowed += access::CheckRole({"alice", role, {}}, rule.verb, "x").ok() ? 'y' : 'd';
    }
    EXPECT_EQ(allowed, row.own);
  }
}

}  // namespace
}  // namespace kdbg::service
