// Every RPC of kdbg.v1 and what it takes to be allowed it. A service names its RPC by
// Rpc("Service/Method"), which does not compile without a row here; tests/contract compares the
// table with the contract itself.
#pragma once

#include <string_view>

#include "server/access/check.h"

namespace kdbg::service {

// A call that copies gigabytes must not hold up those that do not.
enum class CallLength { kShort, kLong };

struct RpcRule {
  std::string_view method;  // "BuildService/GetBuild"
  access::Verb verb;
  access::ResourceKind kind;
  CallLength length = CallLength::kShort;
};

inline constexpr RpcRule kRpcTable[] = {
    {"SourceService/CreateUpload", access::Verb::kCreate, access::ResourceKind::kUpload},
    {"SourceService/GetUpload", access::Verb::kSee, access::ResourceKind::kUpload},
    {"SourceService/WriteUpload", access::Verb::kControl, access::ResourceKind::kUpload},
    {"SourceService/QueryKnownObjects", access::Verb::kCreate, access::ResourceKind::kSource},
    {"SourceService/CreateSource", access::Verb::kCreate, access::ResourceKind::kSource},
    {"SourceService/GetSource", access::Verb::kSee, access::ResourceKind::kSource},
    {"SourceService/ListSources", access::Verb::kList, access::ResourceKind::kSource},
    {"SourceService/WatchSource", access::Verb::kSee, access::ResourceKind::kSource},
    {"SourceService/DeleteSource", access::Verb::kDelete, access::ResourceKind::kSource},
    {"SourceService/TrustSource", access::Verb::kTrust, access::ResourceKind::kSource},
    {"SourceService/ReadSourceFiles", access::Verb::kRead, access::ResourceKind::kSource},

    {"BuildService/CreateBuild", access::Verb::kCreate, access::ResourceKind::kBuild},
    {"BuildService/GetBuild", access::Verb::kSee, access::ResourceKind::kBuild},
    {"BuildService/ListBuilds", access::Verb::kList, access::ResourceKind::kBuild},
    {"BuildService/WatchBuild", access::Verb::kSee, access::ResourceKind::kBuild},
    {"BuildService/ReadBuildLog", access::Verb::kRead, access::ResourceKind::kBuild},
    {"BuildService/CancelBuild", access::Verb::kControl, access::ResourceKind::kBuild},
    {"BuildService/DeleteBuild", access::Verb::kDelete, access::ResourceKind::kBuild},
    {"BuildService/ShareBuild", access::Verb::kShare, access::ResourceKind::kBuild},
    {"BuildService/ConfigureKernel", access::Verb::kCreate, access::ResourceKind::kBuild},

    {"ArtifactService/GetArtifact", access::Verb::kSee, access::ResourceKind::kArtifact},
    {"ArtifactService/ListArtifacts", access::Verb::kList, access::ResourceKind::kArtifact},
    {"ArtifactService/ReadArtifactFile", access::Verb::kRead, access::ResourceKind::kArtifact},
    {"ArtifactService/PinArtifact", access::Verb::kKeep, access::ResourceKind::kArtifact},
    {"ArtifactService/UnpinArtifact", access::Verb::kKeep, access::ResourceKind::kArtifact},
    {"ArtifactService/DeleteArtifact", access::Verb::kDelete, access::ResourceKind::kArtifact},
    {"ArtifactService/PruneArtifacts", access::Verb::kDelete, access::ResourceKind::kArtifact},

    {"SessionService/CreateSession", access::Verb::kCreate, access::ResourceKind::kSession},
    {"SessionService/GetSession", access::Verb::kSee, access::ResourceKind::kSession},
    {"SessionService/ListSessions", access::Verb::kList, access::ResourceKind::kSession},
    {"SessionService/WatchSession", access::Verb::kSee, access::ResourceKind::kSession},
    {"SessionService/DeleteSession", access::Verb::kDelete, access::ResourceKind::kSession},
    {"SessionService/RenewSession", access::Verb::kControl, access::ResourceKind::kSession},
    {"SessionService/PauseSession", access::Verb::kControl, access::ResourceKind::kSession},
    {"SessionService/ResumeSession", access::Verb::kControl, access::ResourceKind::kSession},
    {"SessionService/ResetSession", access::Verb::kControl, access::ResourceKind::kSession},
    {"SessionService/SaveSession", access::Verb::kControl, access::ResourceKind::kSession,
     CallLength::kLong},
    {"SessionService/RestoreSession", access::Verb::kCreate, access::ResourceKind::kSession},
    {"SessionService/DumpSession", access::Verb::kControl, access::ResourceKind::kSession,
     CallLength::kLong},
    {"SessionService/ShareSession", access::Verb::kShare, access::ResourceKind::kSession},
    {"SessionService/ReadConsole", access::Verb::kRead, access::ResourceKind::kSession},
    {"SessionService/AttachConsole", access::Verb::kControl, access::ResourceKind::kSession},
    {"SessionService/AttachGdb", access::Verb::kControl, access::ResourceKind::kSession},

    {"ServerService/GetServerInfo", access::Verb::kInform, access::ResourceKind::kServer},
    {"ServerService/WatchActivity", access::Verb::kList, access::ResourceKind::kServer},
    {"ServerService/Drain", access::Verb::kDrain, access::ResourceKind::kServer},
    {"ServerService/Undrain", access::Verb::kDrain, access::ResourceKind::kServer},

    {"UserService/CreateEnrollment", access::Verb::kManageUsers, access::ResourceKind::kUser},
    {"UserService/Enroll", access::Verb::kEnroll, access::ResourceKind::kUser},
    {"UserService/RenewCertificate", access::Verb::kRenew, access::ResourceKind::kUser},
    {"UserService/ListUsers", access::Verb::kManageUsers, access::ResourceKind::kUser},
    {"UserService/RevokeUser", access::Verb::kManageUsers, access::ResourceKind::kUser},
    {"UserService/DeleteUser", access::Verb::kManageUsers, access::ResourceKind::kUser},
};

// nullptr when there is no such row.
constexpr const RpcRule* FindRpc(std::string_view method) {
  for (const RpcRule& rule : kRpcTable) {
    if (rule.method == method) return &rule;
  }
  return nullptr;
}

// A wrong name dereferences nullptr, which no constant expression may do.
consteval const RpcRule& Rpc(std::string_view method) { return *FindRpc(method); }

}  // namespace kdbg::service
