// Services that do what a test tells them, and a server around them on a real unix socket.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/synchronization/notification.h"
#include "kdbg/v1/server_service.grpc.pb.h"
#include "kdbg/v1/session_service.grpc.pb.h"
#include "kdbg/v1/source_service.grpc.pb.h"
#include "server/access/users.h"
#include "server/base/clock.h"
#include "server/service/call_gate.h"
#include "server/service/duplex_stream.h"
#include "server/service/grpc_server.h"
#include "server/service/read_stream.h"
#include "server/service/unary.h"
#include "server/service/write_stream.h"
#include "tests/contract/kit/service_test_kit.h"

namespace kdbg::service {

// GetServerInfo answers who calls; `body` replaces that.
class ToyServerService final : public v1::ServerService::CallbackService {
 public:
  explicit ToyServerService(CallGate& gate) : gate_(gate) {}
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context,
                                          const v1::GetServerInfoRequest*,
                                          v1::ServerInfo* response) override {
    return RunUnary(gate_, context, Rpc("ServerService/GetServerInfo"),
                    [this, response](Call& call) {
                      if (body) return body(call);
                      response->set_user(call.user());
                      response->set_role(std::string(access::RoleName(call.principal().role)));
                      return call.CheckCollection();
                    });
  }
  UnaryBody body;

 private:
  CallGate& gate_;
};

// What a test sees of one stream's server side.
struct Probe {
  std::atomic<int> pulls = 0;
  std::atomic<int> taken = 0;
  std::atomic<bool> ended = false;  // by the client's own end
  absl::Notification opened;
  absl::Notification gone;
};

// WatchSession sends messages of `message_bytes` until `messages` are out, then waits or ends.
// AttachGdb echoes.
class ToySessionService final : public v1::SessionService::CallbackService {
 public:
  explicit ToySessionService(CallGate& gate) : gate_(gate) {}

  grpc::ServerWriteReactor<v1::Session>* WatchSession(grpc::CallbackServerContext* context,
                                                      const v1::GetSessionRequest*) override {
    return WriteStream<v1::Session>::Start(
        gate_, context, Rpc("SessionService/WatchSession"),
        [this](Call& call, Waker waker) -> absl::StatusOr<std::unique_ptr<Feed<v1::Session>>> {
          access::Resource own;
          own.kind = access::ResourceKind::kSession;
          own.owner = call.user();
          KDBG_RETURN_IF_ERROR(call.Check(own));
          if (wake) *wake = std::move(waker);
          probe->opened.Notify();
          return std::make_unique<Numbers>(*this);
        });
  }

  grpc::ServerBidiReactor<v1::GdbClientFrame, v1::GdbServerFrame>* AttachGdb(
      grpc::CallbackServerContext* context) override {
    return DuplexStream<v1::GdbClientFrame, v1::GdbServerFrame>::Start(
        gate_, context, Rpc("SessionService/AttachGdb"),
        [this](Call& call, const v1::GdbClientFrame&,
               Waker) -> absl::StatusOr<std::unique_ptr<Echo::Base>> {
          access::Resource own;
          own.kind = access::ResourceKind::kSession;
          own.owner = call.user();
          KDBG_RETURN_IF_ERROR(call.Check(own));
          return std::make_unique<Echo>(probe);
        });
  }

  std::shared_ptr<Probe> probe = std::make_shared<Probe>();
  int messages = 3;
  std::size_t message_bytes = 10;
  Pull afterwards = Pull::kEnd;
  Waker* wake = nullptr;

 private:
  class Numbers final : public Feed<v1::Session> {
   public:
    explicit Numbers(const ToySessionService& toy)
        : probe_(toy.probe),
          messages_(toy.messages),
          bytes_(toy.message_bytes),
          afterwards_(toy.afterwards) {}
    ~Numbers() override { probe_->gone.Notify(); }
    absl::StatusOr<Pull> Next(v1::Session* next) override {
      if (probe_->pulls == messages_) return afterwards_;
      next->set_name(std::to_string(probe_->pulls++));
      next->set_command_line(std::string(bytes_, 'x'));
      return Pull::kMessage;
    }

   private:
    const std::shared_ptr<Probe> probe_;
    const int messages_;
    const std::size_t bytes_;
    const Pull afterwards_;
  };

  class Echo final : public Talk<v1::GdbClientFrame, v1::GdbServerFrame> {
   public:
    using Base = Talk<v1::GdbClientFrame, v1::GdbServerFrame>;
    explicit Echo(std::shared_ptr<Probe> probe) : probe_(std::move(probe)) {}
    ~Echo() override { probe_->gone.Notify(); }
    absl::StatusOr<Pull> Take(const v1::GdbClientFrame& frame) override {
      if (!unsent_.empty()) return Pull::kWait;  // one at a time: the client is held back
      ++probe_->taken;
      unsent_ = frame.rsp();
      return Pull::kMessage;
    }
    Pull HalfClosed() override {
      probe_->ended = true;
      return unsent_.empty() ? Pull::kEnd : Pull::kWait;
    }
    absl::StatusOr<Pull> Next(v1::GdbServerFrame* next) override {
      if (unsent_.empty()) return probe_->ended ? Pull::kEnd : Pull::kWait;
      next->set_rsp(std::exchange(unsent_, {}));
      return Pull::kMessage;
    }

   private:
    const std::shared_ptr<Probe> probe_;
    std::string unsent_;
  };

  CallGate& gate_;
};

// WriteUpload counts bytes.
class ToySourceService final : public v1::SourceService::CallbackService {
 public:
  explicit ToySourceService(CallGate& gate) : gate_(gate) {}
  grpc::ServerReadReactor<v1::WriteUploadRequest>* WriteUpload(grpc::CallbackServerContext* context,
                                                               v1::Upload* response) override {
    return ReadStream<v1::WriteUploadRequest, v1::Upload>::Start(
        gate_, context, Rpc("SourceService/WriteUpload"), response,
        [this](Call& call, const v1::WriteUploadRequest&)
            -> absl::StatusOr<std::unique_ptr<Sink<v1::WriteUploadRequest, v1::Upload>>> {
          access::Resource own;
          own.kind = access::ResourceKind::kUpload;
          own.owner = call.user();
          KDBG_RETURN_IF_ERROR(call.Check(own));
          return std::make_unique<Counter>(probe);
        });
  }
  std::shared_ptr<Probe> probe = std::make_shared<Probe>();

 private:
  class Counter final : public Sink<v1::WriteUploadRequest, v1::Upload> {
   public:
    explicit Counter(std::shared_ptr<Probe> probe) : probe_(std::move(probe)) {}
    ~Counter() override { probe_->gone.Notify(); }
    absl::Status Take(const v1::WriteUploadRequest& message) override {
      if (probe_->taken++ == 0) probe_->opened.Notify();
      bytes_ += message.data();
      return absl::OkStatus();
    }
    absl::Status End(v1::Upload* response) override {
      probe_->ended = true;
      response->set_received_bytes(static_cast<std::int64_t>(bytes_.size()));
      response->set_sha256(bytes_.substr(0, 64));
      return absl::OkStatus();
    }

   private:
    const std::shared_ptr<Probe> probe_;
    std::string bytes_;
  };

  CallGate& gate_;
};

class ToyServer {
 public:
  explicit ToyServer(GateLimits limits = {}, RelayLimits relay = {},
                     const std::filesystem::path& runtime = {})
      : gate(users, *grants, clock, limits),
        server_service(gate),
        session_service(gate),
        source_service(gate) {
    GrpcServerOptions options;
    options.addresses = {{.path = socket(), .mode = 0666, .group = {}, .inherited_fd = -1}};
    options.runtime_directory = runtime.empty() ? directory.path() : runtime;
    options.relay = relay;
    auto started =
        GrpcServer::Start(options, {&server_service, &session_service, &source_service}, gate);
    if (started.ok()) {
      server = *std::move(started);
    } else {
      ADD_FAILURE() << started.status();
    }
  }

  std::filesystem::path socket() const { return directory.path() / "kdbgd.sock"; }
  std::shared_ptr<grpc::Channel> As(uid_t uid) { return ConnectAs(uid, directory.path()); }

  TestDirectory directory;
  SystemClock clock;
  TestAccounts accounts;
  access::Users users{TestAccounts::Policy(), accounts, clock, ::getuid()};
  std::unique_ptr<state::Database> database =
      *state::Database::Open(directory.path() / "state.db", access::Grants::Migrations());
  std::unique_ptr<access::Grants> grants = *access::Grants::Open(*database);
  CallGate gate;
  ToyServerService server_service;
  ToySessionService session_service;
  ToySourceService source_service;
  std::unique_ptr<GrpcServer> server;
};

}  // namespace kdbg::service
