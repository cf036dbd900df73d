// Sources, builds and artifacts of the fake server.
#include <zstd.h>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "proto/support/sha256.h"
#include "tests/cli/fake_server.h"

namespace kdbg::test {
namespace {

class FakeSourceService : public v1::SourceService::Service {
 public:
  explicit FakeSourceService(FakeState& state) : state_(state) {}

  grpc::Status CreateUpload(grpc::ServerContext*, const v1::CreateUploadRequest* request,
                            v1::Upload* upload) override {
    absl::MutexLock lock(&state_.mutex);
    const std::string name = "uploads/" + request->sha256().substr(0, 12);
    const std::string& bytes = state_.uploads[name];
    upload->set_name(name);
    upload->set_sha256(request->sha256());
    upload->set_size_bytes(request->size_bytes());
    upload->set_received_bytes(static_cast<std::int64_t>(bytes.size()));
    upload->set_complete(upload->received_bytes() == request->size_bytes());
    return grpc::Status::OK;
  }

  grpc::Status WriteUpload(grpc::ServerContext*, grpc::ServerReader<v1::WriteUploadRequest>* reader,
                           v1::Upload* upload) override {
    v1::WriteUploadRequest message;
    std::string name;
    while (reader->Read(&message)) {
      absl::MutexLock lock(&state_.mutex);
      if (name.empty()) {
        name = message.name();
        state_.upload_offsets.push_back(message.offset_bytes());
      }
      std::string& bytes = state_.uploads[name];
      bytes += message.data();
      if (state_.break_upload_after >= 0 &&
          static_cast<std::int64_t>(bytes.size()) >= state_.break_upload_after) {
        state_.break_upload_after = -1;
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken");
      }
    }
    absl::MutexLock lock(&state_.mutex);
    upload->set_name(name);
    upload->set_received_bytes(static_cast<std::int64_t>(state_.uploads[name].size()));
    upload->set_complete(true);
    return grpc::Status::OK;
  }

  grpc::Status CreateSource(grpc::ServerContext*, const v1::CreateSourceRequest* request,
                            v1::Source* source) override {
    absl::MutexLock lock(&state_.mutex);
    if (request->source().has_git_pack()) {
      state_.git_packs.push_back(request->source().git_pack());
    }
    if (request->source().has_patched()) state_.patched.push_back(request->source().patched());
    if (!state_.create_source_statuses.empty()) {
      const grpc::Status status = state_.create_source_statuses.front();
      state_.create_source_statuses.erase(state_.create_source_statuses.begin());
      return status;
    }
    if (request->source().has_git_pack()) {
      state_.known_objects.insert(request->source().git_pack().tree());
    }
    const v1::Source::Tarball& tarball = request->source().tarball();
    if (request->source().has_tarball() && tarball.upload().empty() &&
        state_.known_digests.count(tarball.sha256()) == 0) {
      return NotFound("tarball");
    }
    *source = state_.sources["sources/s-1"];
    source->set_name("sources/s-1");
    if (!tarball.upload().empty()) {
      state_.known_digests.insert(Sha256Hex(state_.uploads[tarball.upload()]));
      if (source->state() == v1::Source::READY) source->set_state(v1::Source::IMPORTING);
    }
    return grpc::Status::OK;
  }

  grpc::Status QueryKnownObjects(grpc::ServerContext*, const v1::QueryKnownObjectsRequest* request,
                                 v1::QueryKnownObjectsResponse* response) override {
    absl::MutexLock lock(&state_.mutex);
    for (const std::string& id : request->object_ids()) {
      if (state_.known_objects.contains(id)) response->add_known_object_ids(id);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetSource(grpc::ServerContext*, const v1::GetSourceRequest* request,
                         v1::Source* source) override {
    absl::MutexLock lock(&state_.mutex);
    const auto found = state_.sources.find(request->name());
    if (found == state_.sources.end()) return NotFound(request->name());
    *source = found->second;
    return grpc::Status::OK;
  }

  grpc::Status ListSources(grpc::ServerContext*, const v1::ListSourcesRequest*,
                           v1::ListSourcesResponse* response) override {
    absl::MutexLock lock(&state_.mutex);
    for (const auto& [name, source] : state_.sources) *response->add_sources() = source;
    return grpc::Status::OK;
  }

  grpc::Status WatchSource(grpc::ServerContext*, const v1::GetSourceRequest* request,
                           grpc::ServerWriter<v1::Source>* writer) override {
    absl::MutexLock lock(&state_.mutex);
    v1::Source source = state_.sources[request->name()];
    v1::Source importing = source;
    importing.set_state(v1::Source::IMPORTING);
    importing.set_files_imported(10);
    writer->Write(importing);
    writer->Write(source);
    return grpc::Status::OK;
  }

  grpc::Status ReadSourceFiles(grpc::ServerContext*, const v1::ReadSourceFilesRequest* request,
                               grpc::ServerWriter<v1::SourceFileChunk>* writer) override {
    absl::MutexLock lock(&state_.mutex);
    for (const std::string& path : request->paths()) {
      ++state_.source_reads;
      v1::SourceFileChunk chunk;
      chunk.set_path(path);
      const auto found = state_.source_files.find(path);
      chunk.set_missing(found == state_.source_files.end());
      if (!chunk.missing()) chunk.set_data(found->second);
      chunk.set_last(true);
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

class FakeBuildService : public v1::BuildService::Service {
 public:
  explicit FakeBuildService(FakeState& state) : state_(state) {}

  grpc::Status CreateBuild(grpc::ServerContext*, const v1::CreateBuildRequest* request,
                           v1::Build* build) override {
    absl::MutexLock lock(&state_.mutex);
    if (!state_.create_build_status.ok()) return state_.create_build_status;
    state_.created_builds.push_back(*request);
    *build = request->build();
    build->set_name("builds/b-1");
    build->set_state(v1::Build::QUEUED);
    return grpc::Status::OK;
  }

  grpc::Status GetBuild(grpc::ServerContext*, const v1::GetBuildRequest* request,
                        v1::Build* build) override {
    absl::MutexLock lock(&state_.mutex);
    const auto found = state_.builds.find(request->name());
    if (found == state_.builds.end()) return NotFound(request->name());
    *build = found->second;
    return grpc::Status::OK;
  }

  // Two pages, so that the client has to ask for the second.
  grpc::Status ListBuilds(grpc::ServerContext*, const v1::ListBuildsRequest* request,
                          v1::ListBuildsResponse* response) override {
    absl::MutexLock lock(&state_.mutex);
    bool first = true;
    for (const auto& [name, build] : state_.builds) {
      if (first == request->page_token().empty()) *response->add_builds() = build;
      first = false;
    }
    if (request->page_token().empty() && state_.builds.size() > 1) {
      response->set_next_page_token("2");
    }
    return grpc::Status::OK;
  }

  grpc::Status WatchBuild(grpc::ServerContext* context, const v1::GetBuildRequest*,
                          grpc::ServerWriter<v1::Build>* writer) override {
    std::vector<v1::Build> steps;
    {
      absl::MutexLock lock(&state_.mutex);
      steps = state_.watch_steps;
    }
    for (std::size_t i = 0; i + 1 < steps.size(); ++i) writer->Write(steps[i]);
    AwaitOrCancelled(state_, context, [this] { return !state_.hold_watch; });
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    writer->Write(steps.back());
    return grpc::Status::OK;
  }

  grpc::Status ReadBuildLog(grpc::ServerContext*, const v1::ReadBuildLogRequest* request,
                            grpc::ServerWriter<v1::LogChunk>* writer) override {
    absl::MutexLock lock(&state_.mutex);
    v1::LogChunk chunk;
    chunk.set_offset_bytes(request->offset_bytes());
    chunk.set_data(state_.log.substr(static_cast<std::size_t>(request->offset_bytes())));
    writer->Write(chunk);
    return grpc::Status::OK;
  }

  grpc::Status CancelBuild(grpc::ServerContext*, const v1::CancelBuildRequest* request,
                           v1::Build* build) override {
    absl::MutexLock lock(&state_.mutex);
    *build = state_.builds[request->name()];
    build->set_state(v1::Build::CANCELLED);
    return grpc::Status::OK;
  }

  grpc::Status ConfigureKernel(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ConfigureKernelResponse, v1::ConfigureKernelRequest>* stream)
      override {
    v1::ConfigureKernelRequest request;
    stream->Read(&request);
    {
      absl::MutexLock lock(&state_.mutex);
      state_.editor_starts.push_back(request.start());
      if (!state_.editor_status.ok()) return state_.editor_status;
    }
    const auto print = [stream](const std::string& text) {
      v1::ConfigureKernelResponse response;
      response.set_output(text);
      stream->Write(response);
    };
    print("\x1b[?1049hmenu");
    while (stream->Read(&request)) {
      if (request.has_resize()) {
        print("{" + std::to_string(request.resize().columns()) + "x" +
              std::to_string(request.resize().rows()) + "}");
        continue;
      }
      print("[" + request.input() + "]");
      if (request.input() == "x") return grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken");
      if (request.input() != "s" && request.input() != "q") continue;
      print("\x1b[?1049lbye");
      if (request.input() == "q") return grpc::Status::OK;
      absl::MutexLock lock(&state_.mutex);
      v1::ConfigureKernelResponse response;
      response.set_config(state_.saved_config);
      stream->Write(response);
      return grpc::Status::OK;
    }
    return grpc::Status::CANCELLED;
  }

 private:
  FakeState& state_;
};

class FakeArtifactService : public v1::ArtifactService::Service {
 public:
  explicit FakeArtifactService(FakeState& state) : state_(state) {}

  grpc::Status PruneArtifacts(grpc::ServerContext*, const v1::PruneArtifactsRequest* request,
                              v1::PruneArtifactsResponse* response) override {
    absl::MutexLock lock(&state_.mutex);
    state_.prunes.push_back(*request);
    for (const auto& [name, artifact] : state_.artifacts) {
      *response->add_removals()->mutable_artifact() = artifact;
    }
    return grpc::Status::OK;
  }

  grpc::Status GetArtifact(grpc::ServerContext*, const v1::GetArtifactRequest* request,
                           v1::Artifact* artifact) override {
    absl::MutexLock lock(&state_.mutex);
    const auto found = state_.artifacts.find(request->name());
    if (found == state_.artifacts.end()) return NotFound(request->name());
    *artifact = found->second;
    return grpc::Status::OK;
  }

  grpc::Status ListArtifacts(grpc::ServerContext*, const v1::ListArtifactsRequest* request,
                             v1::ListArtifactsResponse* response) override {
    absl::MutexLock lock(&state_.mutex);
    for (const auto& [name, artifact] : state_.artifacts) {
      const std::string& wanted = request->build_id();
      bool listed = wanted.empty() || artifact.build_id() == wanted;
      for (const v1::ArtifactFile& file : artifact.files()) listed |= file.build_id() == wanted;
      if (!listed) continue;
      *response->add_artifacts() = artifact;
      response->mutable_artifacts()->rbegin()->clear_files();
    }
    return grpc::Status::OK;
  }

  grpc::Status ReadArtifactFile(grpc::ServerContext*, const v1::ReadArtifactFileRequest* request,
                                grpc::ServerWriter<v1::ArtifactFileChunk>* writer) override {
    absl::MutexLock lock(&state_.mutex);
    ++state_.artifact_reads;
    const std::string& bytes = state_.artifact_files[request->path()];
    if (request->zstd()) {
      state_.artifact_bases.push_back(request->base_sha256());
      const std::string rest = bytes.substr(static_cast<std::size_t>(request->offset_bytes()));
      std::string frame(::ZSTD_compressBound(rest.size()), 0);
      frame.resize(::ZSTD_compress(frame.data(), frame.size(), rest.data(), rest.size(), 1));
      // In two: the frame goes on in the second chunk.
      v1::ArtifactFileChunk chunk;
      chunk.set_zstd(true);
      chunk.set_data(frame.substr(0, 5));
      writer->Write(chunk);
      chunk.Clear();
      chunk.set_data(frame.substr(5));
      writer->Write(chunk);
      return grpc::Status::OK;
    }
    for (std::size_t at = static_cast<std::size_t>(request->offset_bytes()); at < bytes.size();
         at += 100'000) {
      v1::ArtifactFileChunk chunk;
      chunk.set_offset_bytes(static_cast<std::int64_t>(at));
      chunk.set_data(bytes.substr(at, 100'000));
      writer->Write(chunk);
    }
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewFakeSourceService(FakeState& state) {
  return std::make_unique<FakeSourceService>(state);
}
std::unique_ptr<grpc::Service> NewFakeBuildService(FakeState& state) {
  return std::make_unique<FakeBuildService>(state);
}
std::unique_ptr<grpc::Service> NewFakeArtifactService(FakeState& state) {
  return std::make_unique<FakeArtifactService>(state);
}

}  // namespace kdbg::test
