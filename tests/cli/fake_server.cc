#include "tests/cli/fake_server.h"

#include <unistd.h>

#include <functional>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"

namespace kdbg::test {
namespace {

class FakeServerService : public v1::ServerService::Service {
 public:
  explicit FakeServerService(FakeState& state) : state_(state) {}
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::ServerInfo* info) override {
    absl::MutexLock lock(&state_.mutex);
    *info = state_.info;
    return grpc::Status::OK;
  }
  grpc::Status WatchActivity(grpc::ServerContext* context, const v1::WatchActivityRequest* request,
                             grpc::ServerWriter<v1::Activity>* writer) override {
    do {
      v1::Activity now;
      {
        absl::MutexLock lock(&state_.mutex);
        now = state_.activity;
        state_.activity_changed = false;
      }
      writer->Write(now);
      if (!request->follow()) return grpc::Status::OK;
      AwaitOrCancelled(state_, context, [this] { return state_.activity_changed; });
    } while (!context->IsCancelled());
    return grpc::Status::CANCELLED;
  }
  grpc::Status Drain(grpc::ServerContext*, const v1::DrainRequest* request,
                     v1::DrainReport* report) override {
    absl::MutexLock lock(&state_.mutex);
    state_.drained = *request;
    *report = state_.drain_report;
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewFakeServerService(FakeState& state) {
  return std::make_unique<FakeServerService>(state);
}

grpc::Status NotFound(const std::string& name) { return ToGrpcStatus(ResourceNotFound(name)); }

void AwaitOrCancelled(FakeState& state, grpc::ServerContext* context,
                      const std::function<bool()>& condition) {
  // A cancelled call wakes nobody here: look now and then, as only a fake may.
  while (!context->IsCancelled()) {
    absl::MutexLock lock(&state.mutex);
    if (state.mutex.AwaitWithTimeout(
            absl::Condition(&condition, &std::function<bool()>::operator()),
            absl::Milliseconds(20))) {
      return;
    }
  }
}

FakeServer::FakeServer(std::string socket) : socket_(std::move(socket)) {}

FakeServer::~FakeServer() { Stop(); }

void FakeServer::Start() {
  services_.clear();
  services_.push_back(NewFakeServerService(state_));
  services_.push_back(NewFakeSourceService(state_));
  services_.push_back(NewFakeBuildService(state_));
  services_.push_back(NewFakeArtifactService(state_));
  services_.push_back(NewFakeSessionService(state_));
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + socket_, grpc::InsecureServerCredentials());
  for (const auto& service : services_) builder.RegisterService(service.get());
  server_ = builder.BuildAndStart();
}

void FakeServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
  ::unlink(socket_.c_str());
}

}  // namespace kdbg::test
