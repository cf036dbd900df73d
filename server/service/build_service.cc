#include "server/service/build_service.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/service/build_finder.h"
#include "server/service/config_talk.h"
#include "server/service/convert_build.h"
#include "server/service/duplex_stream.h"
#include "server/service/page.h"
#include "server/service/resources.h"
#include "server/service/snapshot_feed.h"
#include "server/service/unary.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kLogChunkBytes = 64 << 10;

enum class AtEnd { kStop, kFollow };

class LogFeed final : public Feed<v1::LogChunk> {
 public:
  LogFeed(const build::Builds& builds, std::string id, std::int64_t offset, AtEnd at_end,
          Subscription growth)
      : builds_(builds),
        id_(std::move(id)),
        offset_(offset),
        at_end_(at_end),
        growth_(std::move(growth)) {}

  absl::StatusOr<Pull> Next(v1::LogChunk* next) override {
    KDBG_ASSIGN_OR_RETURN(build::LogSlice slice, builds_.ReadLog(id_, offset_, kLogChunkBytes));
    offset_ = slice.offset_bytes + static_cast<std::int64_t>(slice.data.size());
    if (slice.data.empty()) {
      return slice.ended || at_end_ == AtEnd::kStop ? Pull::kEnd : Pull::kWait;
    }
    next->set_offset_bytes(slice.offset_bytes);
    next->set_data(std::move(slice.data));
    return Pull::kMessage;
  }

 private:
  const build::Builds& builds_;
  const std::string id_;
  std::int64_t offset_;  // negative until the first read: from the end
  const AtEnd at_end_;
  const Subscription growth_;
};

}  // namespace

absl::StatusOr<build::BuildRecord> BuildServiceImpl::Find(Call& call, const std::string& name) {
  KDBG_ASSIGN_OR_RETURN(build::BuildRecord build, FindBuild(builds_, call.user(), name, "name"));
  KDBG_RETURN_IF_ERROR(call.Check(ResourceOf(build)));
  return build;
}

absl::Status BuildServiceImpl::CheckSource(const Call& call, const std::string& id) {
  const auto source = sources_.Get(id);
  if (absl::IsNotFound(source.status())) return ResourceNotFound(ResourceName(kSources, id));
  KDBG_RETURN_IF_ERROR(source.status());
  return call.CheckAlso(access::Verb::kUse, ResourceOf(*source));
}

absl::Status BuildServiceImpl::CheckInputs(const Call& call, build::BuildRequest* request) {
  KDBG_RETURN_IF_ERROR(CheckSource(call, request->source_id));
  auto* initramfs = std::get_if<build::InitramfsRequest>(&request->spec);
  if (initramfs == nullptr) return absl::OkStatus();
  for (const auto& [id, unused] : initramfs->overlays) {
    const auto upload = uploads_.Get(id);
    if (absl::IsNotFound(upload.status())) return ResourceNotFound(ResourceName(kUploads, id));
    KDBG_RETURN_IF_ERROR(upload.status());
    KDBG_RETURN_IF_ERROR(call.CheckAlso(access::Verb::kUse, ResourceOf(*upload)));
  }
  if (!initramfs->modules_build.empty()) {
    KDBG_ASSIGN_OR_RETURN(
        const build::BuildRecord kernel,
        FindBuild(builds_, call.user(), initramfs->modules_build, "build.initramfs.modules_build"));
    KDBG_RETURN_IF_ERROR(call.CheckAlso(access::Verb::kUse, ResourceOf(kernel)));
    initramfs->modules_build = kernel.id;
  }
  return absl::OkStatus();
}

absl::Status BuildServiceImpl::CheckReader(const Call& call, const std::string& user,
                                           std::string_view field) const {
  if (user == call.user()) return InvalidField(field, user, "it is theirs already");
  if (gate_.CouldBe(user)) return absl::OkStatus();
  return InvalidField(field, user, fmt::format("this host has no account {}", user));
}

v1::Build BuildServiceImpl::Describe(const build::BuildRecord& build) const {
  v1::Build message = ToMessage(build, clock_.Now());
  for (std::string& user : gate_.grants().UsersOf(message.name())) {
    message.add_readers(std::move(user));
  }
  return message;
}

grpc::ServerUnaryReactor* BuildServiceImpl::CreateBuild(Context* context,
                                                        const v1::CreateBuildRequest* request,
                                                        v1::Build* response) {
  return RunUnary(gate_, context, Rpc("BuildService/CreateBuild"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    KDBG_ASSIGN_OR_RETURN(build::BuildRequest wanted, RequestOf(*request));
                    call.IsRequest(wanted.request_id);
                    KDBG_RETURN_IF_ERROR(CheckInputs(call, &wanted));
                    const auto& readers = request->build().readers();
                    if (!readers.empty() && !wanted.is_private) {
                      return InvalidField("build.readers", readers.Get(0),
                                          "everybody can read a build that is not private");
                    }
                    for (const std::string& user : readers) {
                      KDBG_RETURN_IF_ERROR(CheckReader(call, user, "build.readers"));
                    }
                    KDBG_ASSIGN_OR_RETURN(const build::BuildRecord build,
                                          builds_.Create(call.user(), std::move(wanted)));
                    call.Concerns(ResourceName(kBuilds, build.id));
                    for (const std::string& user : readers) {
                      KDBG_RETURN_IF_ERROR(Grant(build, user));
                    }
                    *response = Describe(build);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* BuildServiceImpl::GetBuild(Context* context,
                                                     const v1::GetBuildRequest* request,
                                                     v1::Build* response) {
  return RunUnary(gate_, context, Rpc("BuildService/GetBuild"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const build::BuildRecord build,
                                          Find(call, request->name()));
                    *response = Describe(build);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* BuildServiceImpl::ListBuilds(Context* context,
                                                       const v1::ListBuildsRequest* request,
                                                       v1::ListBuildsResponse* response) {
  return RunUnary(
      gate_, context, Rpc("BuildService/ListBuilds"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        const std::string query = fmt::format("builds {} {}", call.user(), request->all_owners());
        KDBG_ASSIGN_OR_RETURN(const Page page,
                              ParsePage(request->page_size(), request->page_token(), query));
        build::Builds::ListQuery list;
        const bool everything =
            request->all_owners() && call.principal().role == access::Role::kAdmin;
        if (!everything) list.owner = call.user();
        list.include_shared = request->all_owners();
        if (list.include_shared) {
          list.granted = GrantedIds(gate_.grants(), call.user(), kBuilds);
        }
        list.before_sequence = page.before_sequence;
        list.limit = page.size + 1;
        KDBG_ASSIGN_OR_RETURN(auto builds, builds_.List(list));
        response->set_next_page_token(CutPage(page, query, &builds));
        for (const auto& build : builds) *response->add_builds() = Describe(build);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::Build>* BuildServiceImpl::WatchBuild(
    Context* context, const v1::GetBuildRequest* request) {
  return WriteStream<v1::Build>::Start(
      gate_, context, Rpc("BuildService/WatchBuild"),
      [this, request](Call& call, Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::Build>>> {
        KDBG_ASSIGN_OR_RETURN(const build::BuildRecord build, Find(call, request->name()));
        const auto flag = std::make_shared<ChangeFlag>(std::move(waker));
        auto changes =
            builds_.Subscribe(build.id, [flag](const build::BuildRecord&) { flag->Raise(); });
        const auto load = [this, id = build.id](v1::Build* next) -> absl::StatusOr<bool> {
          KDBG_ASSIGN_OR_RETURN(const build::BuildRecord now, builds_.Get(id));
          *next = Describe(now);
          return build::IsFinal(now.state);
        };
        return std::make_unique<SnapshotFeed<v1::Build>>(flag, std::move(changes), load);
      });
}

grpc::ServerWriteReactor<v1::LogChunk>* BuildServiceImpl::ReadBuildLog(
    Context* context, const v1::ReadBuildLogRequest* request) {
  return WriteStream<v1::LogChunk>::Start(
      gate_, context, Rpc("BuildService/ReadBuildLog"),
      [this, request](Call& call,
                      Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::LogChunk>>> {
        KDBG_ASSIGN_OR_RETURN(const build::BuildRecord build, Find(call, request->name()));
        Subscription growth;
        if (request->follow()) growth = builds_.SubscribeLog(build.id, std::move(waker));
        return std::make_unique<LogFeed>(builds_, build.id, request->offset_bytes(),
                                         request->follow() ? AtEnd::kFollow : AtEnd::kStop,
                                         std::move(growth));
      });
}

grpc::ServerUnaryReactor* BuildServiceImpl::CancelBuild(Context* context,
                                                        const v1::CancelBuildRequest* request,
                                                        v1::Build* response) {
  return RunUnary(gate_, context, Rpc("BuildService/CancelBuild"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const build::BuildRecord build,
                                          Find(call, request->name()));
                    KDBG_ASSIGN_OR_RETURN(const build::BuildRecord ended, builds_.Cancel(build.id));
                    *response = Describe(ended);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* BuildServiceImpl::DeleteBuild(Context* context,
                                                        const v1::DeleteBuildRequest* request,
                                                        google::protobuf::Empty*) {
  return RunUnary(gate_, context, Rpc("BuildService/DeleteBuild"),
                  [this, request](Call& call) -> absl::Status {
                    const auto build = Find(call, request->name());
                    if (absl::IsNotFound(build.status())) return call.CheckGone();
                    KDBG_RETURN_IF_ERROR(build.status());
                    KDBG_RETURN_IF_ERROR(builds_.Delete(build->id));
                    return ForgetGrants(*build);
                  });
}

// Without the build nobody could take back what was granted with it.
absl::Status BuildServiceImpl::ForgetGrants(const build::BuildRecord& build) {
  const std::string name = ResourceName(kBuilds, build.id);
  const std::string artifact = ResourceName(kArtifacts, build.artifact_id);
  for (const std::string& user : gate_.grants().UsersOf(name)) {
    KDBG_RETURN_IF_ERROR(gate_.grants().TakeBack(artifact, user));
  }
  return gate_.grants().Forget(name);
}

// One that was answered with the artifact of an earlier build shares that artifact as well.
absl::Status BuildServiceImpl::Grant(const build::BuildRecord& build, const std::string& user) {
  if (!build.artifact_id.empty()) {
    KDBG_RETURN_IF_ERROR(gate_.grants().Grant(ResourceName(kArtifacts, build.artifact_id), user));
  }
  return gate_.grants().Grant(ResourceName(kBuilds, build.id), user);
}

grpc::ServerUnaryReactor* BuildServiceImpl::ShareBuild(Context* context,
                                                       const v1::ShareBuildRequest* request,
                                                       v1::Build* response) {
  return RunUnary(
      gate_, context, Rpc("BuildService/ShareBuild"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const build::BuildRecord build, Find(call, request->name()));
        const std::string name = ResourceName(kBuilds, build.id);
        call.Concerns(ResourceName(kUsers, request->user()));
        if (request->take_back()) {
          KDBG_RETURN_IF_ERROR(gate_.grants().TakeBack(name, request->user()));
          if (!build.artifact_id.empty()) {
            KDBG_RETURN_IF_ERROR(gate_.grants().TakeBack(
                ResourceName(kArtifacts, build.artifact_id), request->user()));
          }
        } else {
          if (!build.request.is_private) {
            return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                             fmt::format("{} is not private: everybody can read it", name),
                             {{"resource", name}});
          }
          KDBG_RETURN_IF_ERROR(CheckReader(call, request->user(), "user"));
          KDBG_RETURN_IF_ERROR(Grant(build, request->user()));
        }
        *response = Describe(build);
        return absl::OkStatus();
      });
}

grpc::ServerBidiReactor<v1::ConfigureKernelRequest, v1::ConfigureKernelResponse>*
BuildServiceImpl::ConfigureKernel(Context* context) {
  using Stream = DuplexStream<v1::ConfigureKernelRequest, v1::ConfigureKernelResponse>;
  return Stream::Start(
      gate_, context, Rpc("BuildService/ConfigureKernel"),
      [this](Call& call, const v1::ConfigureKernelRequest& first,
             Waker waker) -> absl::StatusOr<std::unique_ptr<ConfigTalk>> {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        if (!first.has_start()) return InvalidField("start", "", "the first message is `start`");
        KDBG_ASSIGN_OR_RETURN(const build::ConfigEditRequest request, RequestOf(first.start()));
        KDBG_RETURN_IF_ERROR(CheckSource(call, request.source_id));
        KDBG_ASSIGN_OR_RETURN(auto editor, editors_.Start(call.user(), request, std::move(waker)));
        return MakeConfigTalk(std::move(editor));
      });
}

}  // namespace kdbg::service
