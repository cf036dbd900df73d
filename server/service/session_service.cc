#include "server/service/session_service.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/service/build_finder.h"
#include "server/service/convert_artifact.h"
#include "server/service/convert_common.h"
#include "server/service/convert_session.h"
#include "server/service/gdb_talk.h"
#include "server/service/page.h"
#include "server/service/resources.h"
#include "server/service/snapshot_feed.h"
#include "server/service/unary.h"
#include "server/session/saved_session.h"

namespace kdbg::service {
namespace {

constexpr char kNoInitramfs[] = "none";

std::string_view KindName(build::BuildKind kind) {
  return kind == build::BuildKind::kKernel ? "kernel" : "initramfs";
}

// Has `build` left an artifact of the right kind?
absl::Status CheckUsable(const build::BuildRecord& build, build::BuildKind kind) {
  const std::string name = ResourceName(kBuilds, build.id);
  const std::string field = fmt::format("session.{}", KindName(kind));
  if (build.kind() != kind) {
    return InvalidField(field, name,
                        fmt::format("{} made no {}: name another build", name, KindName(kind)));
  }
  if (build.state == build::BuildState::kSucceeded) return absl::OkStatus();
  const std::string state(build::ToString(build.state));
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   fmt::format("{} is {}: {}", name, state,
                               build::IsFinal(build.state) ? "name a build that succeeded"
                                                           : "wait until it has succeeded"),
                   {{"resource", name}, {"state", state}});
}

}  // namespace

absl::StatusOr<session::SessionRecord> SessionServiceImpl::Find(Call& call,
                                                                const std::string& name) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kSessions, name));
  absl::StatusOr<session::SessionRecord> session = sessions_.Get(id);
  if (absl::IsNotFound(session.status())) return ResourceNotFound(ResourceName(kSessions, id));
  if (session.ok()) KDBG_RETURN_IF_ERROR(call.Check(ResourceOf(*session, call.user())));
  return session;
}

// A session that is gone ends its streams in their own way.
StandingRight SessionServiceImpl::RightTo(Call& call, const std::string& id, Waker waker) {
  const auto flag = std::make_shared<ChangeFlag>(std::move(waker));
  auto changes = sessions_.Subscribe(id, [flag](const session::SessionRecord&) { flag->Raise(); });
  return StandingRight(flag, std::move(changes), [this, &call, id] {
    const auto session = sessions_.Get(id);
    return session.ok() ? call.Check(ResourceOf(*session, call.user())) : absl::OkStatus();
  });
}

absl::StatusOr<build::BuildRecord> SessionServiceImpl::ChooseBuild(
    const Call& call, const std::string& name, build::BuildKind kind,
    std::optional<Architecture> architecture) const {
  if (!name.empty()) {
    KDBG_ASSIGN_OR_RETURN(
        build::BuildRecord build,
        FindBuild(builds_, call.user(), name, fmt::format("session.{}", KindName(kind))));
    KDBG_RETURN_IF_ERROR(call.CheckAlso(access::Verb::kUse, ResourceOf(build)));
    KDBG_RETURN_IF_ERROR(CheckUsable(build, kind));
    return build;
  }
  return builds_.NewestSuccessful(call.user(), kind, architecture);
}

absl::Status SessionServiceImpl::ChooseBuilds(const Call& call, const v1::Session& wanted,
                                              session::SessionRequest* request) const {
  // One that is named decides the architecture of one that is not.
  const bool with_initramfs = wanted.initramfs() != kNoInitramfs;
  std::optional<build::BuildRecord> initramfs;
  if (with_initramfs && !wanted.initramfs().empty()) {
    KDBG_ASSIGN_OR_RETURN(initramfs, ChooseBuild(call, wanted.initramfs(),
                                                 build::BuildKind::kInitramfs, std::nullopt));
  }
  std::optional<Architecture> architecture;
  if (initramfs) architecture = build::ArchitectureOf(initramfs->request);
  KDBG_ASSIGN_OR_RETURN(
      const build::BuildRecord kernel,
      ChooseBuild(call, wanted.kernel(), build::BuildKind::kKernel, architecture));
  request->kernel_build = kernel.id;
  request->kernel_artifact = kernel.artifact_id;
  if (!with_initramfs) return absl::OkStatus();
  if (!initramfs) {
    KDBG_ASSIGN_OR_RETURN(initramfs, ChooseBuild(call, "", build::BuildKind::kInitramfs,
                                                 build::ArchitectureOf(kernel.request)));
  }
  request->initramfs_build = initramfs->id;
  request->initramfs_artifact = initramfs->artifact_id;
  return absl::OkStatus();
}

absl::Status SessionServiceImpl::CheckFolder(const Call& call, const std::string& id) const {
  if (id.empty()) return absl::OkStatus();
  const auto upload = uploads_.Get(id);
  if (absl::IsNotFound(upload.status())) return ResourceNotFound(ResourceName(kUploads, id));
  KDBG_RETURN_IF_ERROR(upload.status());
  return call.CheckAlso(access::Verb::kUse, ResourceOf(*upload));
}

absl::Status SessionServiceImpl::Create(Call& call, const v1::CreateSessionRequest& request,
                                        v1::Session* response) {
  KDBG_RETURN_IF_ERROR(call.CheckCollection());
  KDBG_ASSIGN_OR_RETURN(session::SessionRequest wanted, RequestOf(request));
  call.IsRequest(wanted.request_id);
  KDBG_RETURN_IF_ERROR(ChooseBuilds(call, request.session(), &wanted));
  KDBG_RETURN_IF_ERROR(CheckFolder(call, wanted.folder_upload));
  KDBG_ASSIGN_OR_RETURN(const session::SessionRecord created,
                        sessions_.Create(call.user(), wanted,
                                         request.queue() ? session::Sessions::IfFull::kWait
                                                         : session::Sessions::IfFull::kRefuse));
  call.Concerns(ResourceName(kSessions, created.id));
  *response = ToMessage(created);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* SessionServiceImpl::CreateSession(Context* context,
                                                            const v1::CreateSessionRequest* request,
                                                            v1::Session* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/CreateSession"),
      [this, request, response](Call& call) { return Create(call, *request, response); });
}

grpc::ServerUnaryReactor* SessionServiceImpl::GetSession(Context* context,
                                                         const v1::GetSessionRequest* request,
                                                         v1::Session* response) {
  return RunUnary(gate_, context, Rpc("SessionService/GetSession"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session,
                                          Find(call, request->name()));
                    *response = ToMessage(session);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* SessionServiceImpl::ListSessions(Context* context,
                                                           const v1::ListSessionsRequest* request,
                                                           v1::ListSessionsResponse* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/ListSessions"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        const std::string query = fmt::format("sessions {} {} {}", call.user(),
                                              request->all_owners(), request->include_ended());
        KDBG_ASSIGN_OR_RETURN(const Page page,
                              ParsePage(request->page_size(), request->page_token(), query));
        session::Sessions::ListQuery list;
        if (!request->all_owners()) list.owner = call.user();
        list.include_ended = request->include_ended();
        list.before_sequence = page.before_sequence;
        list.limit = page.size + 1;
        auto sessions = sessions_.List(list);
        response->set_next_page_token(CutPage(page, query, &sessions));
        for (const auto& session : sessions) {
          *response->add_sessions() = call.MaySee(ResourceOf(session, call.user()))
                                          ? ToMessage(session)
                                          : ToStrangersMessage(session);
        }
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::Session>* SessionServiceImpl::WatchSession(
    Context* context, const v1::GetSessionRequest* request) {
  return WriteStream<v1::Session>::Start(
      gate_, context, Rpc("SessionService/WatchSession"),
      [this, request](Call& call,
                      Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::Session>>> {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        const auto flag = std::make_shared<ChangeFlag>(std::move(waker));
        auto changes = sessions_.Subscribe(
            session.id, [flag](const session::SessionRecord&) { flag->Raise(); });
        const auto load = [this, &call,
                           id = session.id](v1::Session* next) -> absl::StatusOr<bool> {
          KDBG_ASSIGN_OR_RETURN(const session::SessionRecord now, sessions_.Get(id));
          KDBG_RETURN_IF_ERROR(call.Check(ResourceOf(now, call.user())));
          *next = ToMessage(now);
          return session::IsFinal(now.state);
        };
        return std::make_unique<SnapshotFeed<v1::Session>>(flag, std::move(changes), load);
      });
}

grpc::ServerUnaryReactor* SessionServiceImpl::DeleteSession(Context* context,
                                                            const v1::DeleteSessionRequest* request,
                                                            google::protobuf::Empty*) {
  return RunUnary(gate_, context, Rpc("SessionService/DeleteSession"),
                  [this, request](Call& call) -> absl::Status {
                    // A session that has ended is still there, so a repeat finds it.
                    KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session,
                                          Find(call, request->name()));
                    return sessions_.Delete(session.id);
                  });
}

grpc::ServerUnaryReactor* SessionServiceImpl::RenewSession(Context* context,
                                                           const v1::RenewSessionRequest* request,
                                                           v1::Session* response) {
  return RunUnary(gate_, context, Rpc("SessionService/RenewSession"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session,
                                          Find(call, request->name()));
                    std::optional<absl::Duration> ttl;
                    if (request->has_ttl()) {
                      KDBG_ASSIGN_OR_RETURN(ttl, PositiveDuration(request->ttl(), "ttl"));
                    }
                    KDBG_ASSIGN_OR_RETURN(const session::SessionRecord renewed,
                                          sessions_.Renew(session.id, ttl));
                    *response = ToMessage(renewed);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* SessionServiceImpl::PauseSession(Context* context,
                                                           const v1::PauseSessionRequest* request,
                                                           v1::Session* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/PauseSession"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord paused, sessions_.Pause(session.id));
        *response = ToMessage(paused);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SessionServiceImpl::ResumeSession(Context* context,
                                                            const v1::ResumeSessionRequest* request,
                                                            v1::Session* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/ResumeSession"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord running, sessions_.Resume(session.id));
        *response = ToMessage(running);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SessionServiceImpl::ResetSession(Context* context,
                                                           const v1::ResetSessionRequest* request,
                                                           v1::Session* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/ResetSession"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord reset, sessions_.Reset(session.id));
        *response = ToMessage(reset);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SessionServiceImpl::SaveSession(Context* context,
                                                          const v1::SaveSessionRequest* request,
                                                          v1::Artifact* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/SaveSession"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const store::Artifact saved, sessions_.Save(session.id, call.user()));
        call.Concerns(ResourceName(kArtifacts, saved.id));
        *response = ToMessage(saved, blobs_);
        return absl::OkStatus();
      });
}

// Who saved somebody else's session need not be able to use its kernel any more.
absl::Status SessionServiceImpl::CheckInputs(const Call& call, const store::Artifact& saved) const {
  KDBG_ASSIGN_OR_RETURN(const session::SessionRequest wanted, session::RequestToRestore(saved));
  for (const std::string& id : {wanted.kernel_artifact, wanted.initramfs_artifact}) {
    if (id.empty()) continue;
    const absl::StatusOr<store::Artifact> input = artifacts_.Get(id);
    if (!input.ok() || !call.CheckAlso(access::Verb::kUse, ResourceOf(*input)).ok()) {
      return MakeError(
          absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
          fmt::format("{} cannot go on: {}, which it runs, is gone or not yours to use",
                      ResourceName(kArtifacts, saved.id), ResourceName(kArtifacts, id)));
    }
  }
  return absl::OkStatus();
}

absl::Status SessionServiceImpl::Restore(Call& call, const v1::RestoreSessionRequest& request,
                                         v1::Session* response) {
  KDBG_RETURN_IF_ERROR(call.CheckCollection());
  KDBG_ASSIGN_OR_RETURN(session::Sessions::RestoreRequest wanted, RestoreFrom(request));
  call.IsRequest(wanted.request_id);
  const absl::StatusOr<store::Artifact> saved = artifacts_.Get(wanted.artifact);
  if (absl::IsNotFound(saved.status())) {
    return ResourceNotFound(ResourceName(kArtifacts, wanted.artifact));
  }
  KDBG_RETURN_IF_ERROR(saved.status());
  KDBG_RETURN_IF_ERROR(call.CheckAlso(access::Verb::kUse, ResourceOf(*saved)));
  KDBG_RETURN_IF_ERROR(CheckInputs(call, *saved));
  KDBG_ASSIGN_OR_RETURN(const session::SessionRecord restored,
                        sessions_.Restore(call.user(), wanted,
                                          request.queue() ? session::Sessions::IfFull::kWait
                                                          : session::Sessions::IfFull::kRefuse));
  call.Concerns(ResourceName(kArtifacts, saved->id));
  call.Concerns(ResourceName(kSessions, restored.id));
  *response = ToMessage(restored);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* SessionServiceImpl::RestoreSession(
    Context* context, const v1::RestoreSessionRequest* request, v1::Session* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/RestoreSession"),
      [this, request, response](Call& call) { return Restore(call, *request, response); });
}

grpc::ServerUnaryReactor* SessionServiceImpl::DumpSession(Context* context,
                                                          const v1::DumpSessionRequest* request,
                                                          v1::Artifact* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/DumpSession"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const vm::DumpFormat format, DumpFormatFrom(request->format()));
        KDBG_ASSIGN_OR_RETURN(const store::Artifact dump,
                              sessions_.Dump(session.id, call.user(), format));
        call.Concerns(ResourceName(kArtifacts, dump.id));
        *response = ToMessage(dump, blobs_);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SessionServiceImpl::ShareSession(Context* context,
                                                           const v1::ShareSessionRequest* request,
                                                           v1::Session* response) {
  return RunUnary(
      gate_, context, Rpc("SessionService/ShareSession"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const session::SessionShare share, ShareFrom(request->share()));
        call.Concerns(ResourceName(kUsers, share.user));
        if (share.user == session.owner || !gate_.CouldBe(share.user)) {
          return InvalidField("share.user", share.user,
                              share.user == session.owner
                                  ? "the session is theirs already"
                                  : fmt::format("this host has no account {}", share.user));
        }
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord shared,
                              sessions_.Share(session.id, share));
        *response = ToMessage(shared);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::ConsoleChunk>* SessionServiceImpl::ReadConsole(
    Context* context, const v1::ReadConsoleRequest* request) {
  return WriteStream<v1::ConsoleChunk>::Start(
      gate_, context, Rpc("SessionService/ReadConsole"),
      [this, request](Call& call,
                      Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::ConsoleChunk>>> {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session, Find(call, request->name()));
        return std::make_unique<GuardedFeed<v1::ConsoleChunk>>(
            RightTo(call, session.id, waker),
            MakeConsoleFeed(sessions_, session.id, *request, waker));
      });
}

grpc::ServerBidiReactor<v1::AttachConsoleRequest, v1::ConsoleChunk>*
SessionServiceImpl::AttachConsole(Context* context) {
  using Stream = DuplexStream<v1::AttachConsoleRequest, v1::ConsoleChunk>;
  return Stream::Start(
      gate_, context, Rpc("SessionService/AttachConsole"),
      [this](Call& call, const v1::AttachConsoleRequest& first,
             Waker waker) -> absl::StatusOr<std::unique_ptr<ConsoleTalk>> {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session,
                              Find(call, first.start().name()));
        StandingRight right = RightTo(call, session.id, waker);
        KDBG_ASSIGN_OR_RETURN(auto talk, MakeConsoleTalk(sessions_, console_seats_, session.id,
                                                         call.user(), first.start(), waker));
        return std::make_unique<GuardedTalk<v1::AttachConsoleRequest, v1::ConsoleChunk>>(
            std::move(right), std::move(talk));
      });
}

grpc::ServerBidiReactor<v1::GdbClientFrame, v1::GdbServerFrame>* SessionServiceImpl::AttachGdb(
    Context* context) {
  using Stream = DuplexStream<v1::GdbClientFrame, v1::GdbServerFrame>;
  return Stream::Start(
      gate_, context, Rpc("SessionService/AttachGdb"),
      [this](Call& call, const v1::GdbClientFrame& first,
             Waker waker) -> absl::StatusOr<std::unique_ptr<GdbTalk>> {
        KDBG_ASSIGN_OR_RETURN(const session::SessionRecord session,
                              Find(call, first.start().name()));
        if (first.start().take_over()) {
          // Who says who else may control it.
          KDBG_RETURN_IF_ERROR(
              call.CheckAlso(access::Verb::kShare, ResourceOf(session, call.user())));
        }
        StandingRight right = RightTo(call, session.id, waker);
        KDBG_ASSIGN_OR_RETURN(auto door, sessions_.door(session.id));
        KDBG_ASSIGN_OR_RETURN(auto talk,
                              MakeGdbTalk(std::move(door), call.user(), first.start(), waker));
        return std::make_unique<GuardedTalk<v1::GdbClientFrame, v1::GdbServerFrame>>(
            std::move(right), std::move(talk));
      });
}

}  // namespace kdbg::service
