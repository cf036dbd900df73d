#include "server/service/artifact_service.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/service/artifact_file_feed.h"
#include "server/service/convert_artifact.h"
#include "server/service/convert_common.h"
#include "server/service/page.h"
#include "server/service/resources.h"
#include "server/service/unary.h"

namespace kdbg::service {
namespace {

absl::Status CheckBuildId(const std::string& id) {
  constexpr std::size_t kLongest = 128;
  if (id.size() <= kLongest && id.find_first_not_of("0123456789abcdef") == id.npos) {
    return absl::OkStatus();
  }
  return InvalidField("build_id", ShortUtf8(id, 64),
                      "a GNU build id is at most 128 hexadecimal digits in lower case");
}

std::string HolderOf(const Call& call) { return "user " + call.user(); }

}  // namespace

absl::StatusOr<store::Artifact> ArtifactServiceImpl::Find(Call& call, const std::string& name) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kArtifacts, name));
  absl::StatusOr<store::Artifact> artifact = artifacts_.Get(id);
  if (absl::IsNotFound(artifact.status())) return ResourceNotFound(ResourceName(kArtifacts, id));
  if (artifact.ok()) KDBG_RETURN_IF_ERROR(call.Check(ResourceOf(*artifact)));
  return artifact;
}

grpc::ServerUnaryReactor* ArtifactServiceImpl::GetArtifact(Context* context,
                                                           const v1::GetArtifactRequest* request,
                                                           v1::Artifact* response) {
  return RunUnary(gate_, context, Rpc("ArtifactService/GetArtifact"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(const store::Artifact artifact,
                                          Find(call, request->name()));
                    *response = ToMessage(artifact, blobs_);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* ArtifactServiceImpl::ListArtifacts(
    Context* context, const v1::ListArtifactsRequest* request,
    v1::ListArtifactsResponse* response) {
  return RunUnary(
      gate_, context, Rpc("ArtifactService/ListArtifacts"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        KDBG_RETURN_IF_ERROR(CheckBuildId(request->build_id()));
        const std::string query = fmt::format("artifacts {} {} {}", call.user(),
                                              request->all_owners(), request->build_id());
        KDBG_ASSIGN_OR_RETURN(const Page page,
                              ParsePage(request->page_size(), request->page_token(), query));
        store::ArtifactStore::ListQuery list;
        const bool everything =
            request->all_owners() && call.principal().role == access::Role::kAdmin;
        if (!everything) list.owner = call.user();
        list.include_shared = request->all_owners();
        if (list.include_shared) {
          list.granted = GrantedIds(gate_.grants(), call.user(), kArtifacts);
          list.granted_builds = GrantedIds(gate_.grants(), call.user(), kBuilds);
        }
        list.gnu_build_id = request->build_id();
        list.before_sequence = page.before_sequence;
        list.limit = page.size + 1;
        KDBG_ASSIGN_OR_RETURN(auto artifacts, artifacts_.List(list));
        response->set_next_page_token(CutPage(page, query, &artifacts));
        for (const auto& artifact : artifacts) {
          v1::Artifact* listed = response->add_artifacts();
          *listed = ToMessage(artifact, blobs_);
          listed->clear_files();
        }
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::ArtifactFileChunk>* ArtifactServiceImpl::ReadArtifactFile(
    Context* context, const v1::ReadArtifactFileRequest* request) {
  return WriteStream<v1::ArtifactFileChunk>::Start(
      gate_, context, Rpc("ArtifactService/ReadArtifactFile"),
      [this, request](Call& call, const Waker&)
          -> absl::StatusOr<std::unique_ptr<Feed<v1::ArtifactFileChunk>>> {
        KDBG_ASSIGN_OR_RETURN(const store::Artifact artifact, Find(call, request->name()));
        KDBG_RETURN_IF_ERROR(artifacts_.Touch(artifact.id));
        KDBG_ASSIGN_OR_RETURN(const std::optional<store::ArtifactFile> base,
                              FindBase(call, request->base_sha256()));
        return OpenArtifactFile(blobs_, artifact, *request, base);
      });
}

absl::StatusOr<std::optional<store::ArtifactFile>> ArtifactServiceImpl::FindBase(
    const Call& call, const std::string& digest) const {
  if (digest.empty()) return std::nullopt;
  KDBG_ASSIGN_OR_RETURN(const std::vector<store::Artifact> artifacts, artifacts_.WithFile(digest));
  for (const store::Artifact& artifact : artifacts) {
    if (!call.MaySee(ResourceOf(artifact))) continue;
    for (const store::ArtifactFile& file : artifact.files) {
      if (file.digest == digest) return file;
    }
  }
  return std::nullopt;
}

grpc::ServerUnaryReactor* ArtifactServiceImpl::PinArtifact(Context* context,
                                                           const v1::PinArtifactRequest* request,
                                                           v1::Artifact* response) {
  return RunUnary(gate_, context, Rpc("ArtifactService/PinArtifact"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(store::Artifact artifact, Find(call, request->name()));
                    KDBG_RETURN_IF_ERROR(database_.Write([&](state::Transaction& transaction) {
                      return artifacts_.Pin(transaction, artifact.id, HolderOf(call));
                    }));
                    KDBG_ASSIGN_OR_RETURN(artifact, artifacts_.Get(artifact.id));
                    *response = ToMessage(artifact, blobs_);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* ArtifactServiceImpl::UnpinArtifact(
    Context* context, const v1::UnpinArtifactRequest* request, v1::Artifact* response) {
  return RunUnary(gate_, context, Rpc("ArtifactService/UnpinArtifact"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_ASSIGN_OR_RETURN(store::Artifact artifact, Find(call, request->name()));
                    KDBG_RETURN_IF_ERROR(database_.Write([&](state::Transaction& transaction) {
                      return artifacts_.Unpin(transaction, artifact.id, HolderOf(call));
                    }));
                    KDBG_ASSIGN_OR_RETURN(artifact, artifacts_.Get(artifact.id));
                    *response = ToMessage(artifact, blobs_);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* ArtifactServiceImpl::PruneArtifacts(
    Context* context, const v1::PruneArtifactsRequest* request,
    v1::PruneArtifactsResponse* response) {
  return RunUnary(
      gate_, context, Rpc("ArtifactService/PruneArtifacts"),
      [this, request, response](Call& call) -> absl::Status {
        access::Resource all;
        all.kind = access::ResourceKind::kArtifact;
        all.name = "artifacts";
        all.owner = call.user();
        if (request->all_owners()) {
          all.name = "everybody's artifacts";
          all.owner = "their owners";  // whom a refusal says to ask; no account's name
        }
        KDBG_RETURN_IF_ERROR(call.Check(all));
        store::Retention::Request wanted;
        if (!request->all_owners()) wanted.owner = call.user();
        if (request->has_unused_for()) {
          KDBG_ASSIGN_OR_RETURN(wanted.age, PositiveDuration(request->unused_for(), "unused_for"));
        }
        KDBG_ASSIGN_OR_RETURN(const std::vector<store::Removal> removals,
                              request->dry_run() ? retention_.Plan(wanted)
                                                 : retention_.Run(wanted, std::stop_token()));
        for (const store::Removal& removal : removals) {
          v1::PruneArtifactsResponse::Removal* out = response->add_removals();
          *out->mutable_artifact() = ToMessage(removal.artifact, blobs_);
          out->mutable_artifact()->clear_files();
          out->set_cause(removal.cause == store::RemovalCause::kUnused
                             ? v1::PruneArtifactsResponse::Removal::UNUSED
                             : v1::PruneArtifactsResponse::Removal::ROOM);
          out->set_freed_bytes(removal.freed_bytes);
          response->set_freed_bytes(response->freed_bytes() + removal.freed_bytes);
        }
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ArtifactServiceImpl::DeleteArtifact(
    Context* context, const v1::DeleteArtifactRequest* request, google::protobuf::Empty*) {
  return RunUnary(gate_, context, Rpc("ArtifactService/DeleteArtifact"),
                  [this, request](Call& call) -> absl::Status {
                    const auto artifact = Find(call, request->name());
                    if (absl::IsNotFound(artifact.status())) return call.CheckGone();
                    KDBG_RETURN_IF_ERROR(artifact.status());
                    KDBG_RETURN_IF_ERROR(artifacts_.Delete(artifact->id));
                    return gate_.grants().Forget(ResourceName(kArtifacts, artifact->id));
                  });
}

}  // namespace kdbg::service
