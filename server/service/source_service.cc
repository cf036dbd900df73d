#include "server/service/source_service.h"

#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/observe/log.h"
#include "server/service/convert_common.h"
#include "server/service/convert_source.h"
#include "server/service/page.h"
#include "server/service/read_stream.h"
#include "server/service/resources.h"
#include "server/service/snapshot_feed.h"
#include "server/service/source_files_feed.h"
#include "server/service/unary.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kMaxUploadChunk = std::size_t{1} << 20;

// What lies on the server's disk is read with the rights of the caller's account there. Who came
// by a certificate has none, and must not read with the daemon's instead.
absl::Status CheckReader(const access::Principal& caller, const source::SourceOrigin& origin) {
  const bool is_path = origin.kind == source::OriginKind::kServerPath;
  const bool is_file_url = origin.kind == source::OriginKind::kGitUrl &&
                           absl::StartsWithIgnoreCase(origin.text, "file:");
  if (caller.uid || (!is_path && !is_file_url)) return absl::OkStatus();
  return MakeError(absl::StatusCode::kPermissionDenied, Reason::kPathNotAllowed,
                   "files on the server are read with the rights of your account there, and you "
                   "came by a certificate: send the file or the directory itself, or come through "
                   "ssh://HOST",
                   {{"path", origin.text}});
}

class UploadSink final : public Sink<v1::WriteUploadRequest, v1::Upload> {
 public:
  UploadSink(source::UploadStore::Writer writer, BytePace& pace, std::string user)
      : writer_(std::move(writer)), pace_(pace), user_(std::move(user)) {}

  absl::Status Take(const v1::WriteUploadRequest& message) override {
    KDBG_RETURN_IF_ERROR(CheckSize("data", message.data().size(), kMaxUploadChunk));
    pause_ = pace_.Took(user_, static_cast<std::int64_t>(message.data().size()));
    return writer_.Write(message.data());
  }
  absl::Duration Pause() override { return pause_; }

  absl::Status End(v1::Upload* response) override {
    KDBG_ASSIGN_OR_RETURN(const source::Upload upload, writer_.Finish());
    *response = ToMessage(upload);
    return absl::OkStatus();
  }

 private:
  source::UploadStore::Writer writer_;
  BytePace& pace_;
  const std::string user_;
  absl::Duration pause_;
};

}  // namespace

absl::StatusOr<source::Upload> SourceServiceImpl::FindUpload(Call& call, const std::string& name) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kUploads, name));
  absl::StatusOr<source::Upload> upload = uploads_.Get(id);
  if (absl::IsNotFound(upload.status())) return ResourceNotFound(ResourceName(kUploads, id));
  if (upload.ok()) KDBG_RETURN_IF_ERROR(call.Check(ResourceOf(*upload)));
  return upload;
}

absl::StatusOr<source::SourceRecord> SourceServiceImpl::Find(Call& call, const std::string& name) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kSources, name));
  absl::StatusOr<source::SourceRecord> source = sources_.Get(id);
  if (absl::IsNotFound(source.status())) return ResourceNotFound(ResourceName(kSources, id));
  if (source.ok()) KDBG_RETURN_IF_ERROR(call.Check(ResourceOf(*source)));
  return source;
}

grpc::ServerUnaryReactor* SourceServiceImpl::CreateUpload(Context* context,
                                                          const v1::CreateUploadRequest* request,
                                                          v1::Upload* response) {
  return RunUnary(gate_, context, Rpc("SourceService/CreateUpload"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    KDBG_ASSIGN_OR_RETURN(
                        const source::Upload upload,
                        uploads_.Create(call.user(), request->sha256(), request->size_bytes()));
                    call.Concerns(ResourceName(kUploads, upload.id));
                    *response = ToMessage(upload);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* SourceServiceImpl::GetUpload(Context* context,
                                                       const v1::GetUploadRequest* request,
                                                       v1::Upload* response) {
  return RunUnary(gate_, context, Rpc("SourceService/GetUpload"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const source::Upload upload,
                                          FindUpload(call, request->name()));
                    *response = ToMessage(upload);
                    return absl::OkStatus();
                  });
}

grpc::ServerReadReactor<v1::WriteUploadRequest>* SourceServiceImpl::WriteUpload(
    Context* context, v1::Upload* response) {
  using Stream = ReadStream<v1::WriteUploadRequest, v1::Upload>;
  return Stream::Start(
      gate_, context, Rpc("SourceService/WriteUpload"), response,
      [this](Call& call, const v1::WriteUploadRequest& first)
          -> absl::StatusOr<std::unique_ptr<Sink<v1::WriteUploadRequest, v1::Upload>>> {
        KDBG_ASSIGN_OR_RETURN(const source::Upload upload, FindUpload(call, first.name()));
        KDBG_ASSIGN_OR_RETURN(source::UploadStore::Writer writer,
                              uploads_.OpenWriter(upload.id, first.offset_bytes()));
        return std::make_unique<UploadSink>(std::move(writer), gate_.upload_pace(), call.user());
      });
}

grpc::ServerUnaryReactor* SourceServiceImpl::QueryKnownObjects(
    Context* context, const v1::QueryKnownObjectsRequest* request,
    v1::QueryKnownObjectsResponse* response) {
  return RunUnary(gate_, context, Rpc("SourceService/QueryKnownObjects"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    KDBG_ASSIGN_OR_RETURN(const std::vector<source::ObjectId> asked,
                                          ObjectIdsOf(request->object_ids(), "object_ids"));
                    KDBG_ASSIGN_OR_RETURN(const std::vector<source::ObjectId> known,
                                          sources_.KnownTo(call.user(), asked));
                    for (const source::ObjectId& id : known) {
                      response->add_known_object_ids(id.Hex());
                    }
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* SourceServiceImpl::CreateSource(Context* context,
                                                          const v1::CreateSourceRequest* request,
                                                          v1::Source* response) {
  return RunUnary(gate_, context, Rpc("SourceService/CreateSource"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    KDBG_RETURN_IF_ERROR(CheckRequestId(request->request_id()));
                    call.IsRequest(request->request_id());
                    KDBG_ASSIGN_OR_RETURN(source::SourceRequest wanted, RequestOf(*request));
                    if (!wanted.origin.upload.empty()) {
                      const auto upload = uploads_.Get(wanted.origin.upload);
                      if (!upload.ok()) return upload.status();
                      KDBG_RETURN_IF_ERROR(call.CheckAlso(access::Verb::kUse, ResourceOf(*upload)));
                    }
                    if (wanted.origin.kind == source::OriginKind::kPatched) {
                      const auto base = sources_.Get(wanted.origin.ref);
                      if (!base.ok()) return base.status();
                      KDBG_RETURN_IF_ERROR(call.CheckAlso(access::Verb::kUse, ResourceOf(*base)));
                    }
                    KDBG_RETURN_IF_ERROR(CheckReader(call.principal(), wanted.origin));
                    wanted.owner = call.user();
                    wanted.reader = call.principal().uid;
                    KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source,
                                          sources_.Create(wanted));
                    call.Concerns(ResourceName(kSources, source.id));
                    *response = ToMessage(source);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* SourceServiceImpl::GetSource(Context* context,
                                                       const v1::GetSourceRequest* request,
                                                       v1::Source* response) {
  return RunUnary(gate_, context, Rpc("SourceService/GetSource"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source,
                                          Find(call, request->name()));
                    *response = ToMessage(source);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* SourceServiceImpl::ListSources(Context* context,
                                                         const v1::ListSourcesRequest* request,
                                                         v1::ListSourcesResponse* response) {
  return RunUnary(gate_, context, Rpc("SourceService/ListSources"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    const std::string query = fmt::format("sources {}", call.user());
                    KDBG_ASSIGN_OR_RETURN(const Page page, ParsePage(request->page_size(),
                                                                     request->page_token(), query));
                    source::SourceCatalog::ListQuery list;
                    list.owner = call.user();
                    list.before_sequence = page.before_sequence;
                    list.limit = page.size + 1;
                    KDBG_ASSIGN_OR_RETURN(auto sources, sources_.List(list));
                    response->set_next_page_token(CutPage(page, query, &sources));
                    for (const auto& source : sources) *response->add_sources() = ToMessage(source);
                    return absl::OkStatus();
                  });
}

grpc::ServerWriteReactor<v1::Source>* SourceServiceImpl::WatchSource(
    Context* context, const v1::GetSourceRequest* request) {
  return WriteStream<v1::Source>::Start(
      gate_, context, Rpc("SourceService/WatchSource"),
      [this, request](Call& call,
                      Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::Source>>> {
        KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source, Find(call, request->name()));
        const auto flag = std::make_shared<ChangeFlag>(std::move(waker));
        auto changes =
            sources_.Subscribe([id = source.id, flag](const source::SourceRecord& changed) {
              if (changed.id == id) flag->Raise();
            });
        const auto load = [this, id = source.id](v1::Source* next) -> absl::StatusOr<bool> {
          KDBG_ASSIGN_OR_RETURN(const source::SourceRecord now, sources_.Get(id));
          *next = ToMessage(now);
          return now.state != source::SourceState::kImporting;
        };
        return std::make_unique<SnapshotFeed<v1::Source>>(flag, std::move(changes), load);
      });
}

// A build checks its source out when it starts; until then, and while it runs, the tree is needed.
absl::Status SourceServiceImpl::RefuseIfInUse(const source::SourceRecord& source) {
  build::Builds::ListQuery query;
  query.limit = 500;
  while (true) {
    KDBG_ASSIGN_OR_RETURN(const std::vector<build::BuildRecord> builds, builds_.List(query));
    for (const build::BuildRecord& build : builds) {
      if (build.request.source_id != source.id || build::IsFinal(build.state)) continue;
      const std::string name = ResourceName(kBuilds, build.id);
      return MakeError(
          absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
          fmt::format("{} uses {}: cancel it first", name, ResourceName(kSources, source.id)),
          {{"holder", name}});
    }
    if (static_cast<int>(builds.size()) < query.limit) return absl::OkStatus();
    query.before_sequence = builds.back().sequence;
  }
}

grpc::ServerUnaryReactor* SourceServiceImpl::DeleteSource(Context* context,
                                                          const v1::DeleteSourceRequest* request,
                                                          google::protobuf::Empty*) {
  return RunUnary(gate_, context, Rpc("SourceService/DeleteSource"),
                  [this, request](Call& call) -> absl::Status {
                    const auto source = Find(call, request->name());
                    // Gone already, or never there for this caller: the wish is fulfilled.
                    if (absl::IsNotFound(source.status())) return call.CheckGone();
                    if (!source.ok()) return source.status();
                    KDBG_RETURN_IF_ERROR(RefuseIfInUse(*source));
                    return sources_.Delete(source->id);
                  });
}

grpc::ServerUnaryReactor* SourceServiceImpl::TrustSource(Context* context,
                                                         const v1::TrustSourceRequest* request,
                                                         v1::Source* response) {
  return RunUnary(
      gate_, context, Rpc("SourceService/TrustSource"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source, Find(call, request->name()));
        KDBG_ASSIGN_OR_RETURN(const source::SourceRecord trusted, trusted_.Trust(source.id));
        *response = ToMessage(trusted);
        // It is trusted now, whether or not its builds can be queued just yet.
        if (absl::Status queued = trusted_builds_.KeepUp(); !queued.ok()) {
          spdlog::warn("builds of trusted sources: {}", queued.ToString());
        }
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::SourceFileChunk>* SourceServiceImpl::ReadSourceFiles(
    Context* context, const v1::ReadSourceFilesRequest* request) {
  return WriteStream<v1::SourceFileChunk>::Start(
      gate_, context, Rpc("SourceService/ReadSourceFiles"),
      [this, request](Call& call,
                      const Waker&) -> absl::StatusOr<std::unique_ptr<Feed<v1::SourceFileChunk>>> {
        KDBG_ASSIGN_OR_RETURN(const source::SourceRecord source, Find(call, request->name()));
        return OpenSourceFiles(objects_, source,
                               {request->paths().begin(), request->paths().end()});
      });
}

}  // namespace kdbg::service
