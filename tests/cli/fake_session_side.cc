// Sessions, consoles and gdb streams of the fake server.
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/cli/fake_server.h"

namespace kdbg::test {
namespace {

class FakeSessionService : public v1::SessionService::Service {
 public:
  explicit FakeSessionService(FakeState& state) : state_(state) {}

  grpc::Status CreateSession(grpc::ServerContext*, const v1::CreateSessionRequest* request,
                             v1::Session* session) override {
    absl::MutexLock lock(&state_.mutex);
    if (!state_.create_session_status.ok()) return state_.create_session_status;
    state_.created_sessions.push_back(*request);
    session->set_name("sessions/s-1");
    session->set_state(v1::Session::CREATING);
    return grpc::Status::OK;
  }

  grpc::Status GetSession(grpc::ServerContext*, const v1::GetSessionRequest* request,
                          v1::Session* session) override {
    absl::MutexLock lock(&state_.mutex);
    const auto found = state_.sessions.find(request->name());
    if (found == state_.sessions.end()) return NotFound(request->name());
    *session = found->second;
    return grpc::Status::OK;
  }

  grpc::Status ListSessions(grpc::ServerContext*, const v1::ListSessionsRequest*,
                            v1::ListSessionsResponse* response) override {
    absl::MutexLock lock(&state_.mutex);
    for (const auto& [name, session] : state_.sessions) *response->add_sessions() = session;
    return grpc::Status::OK;
  }

  grpc::Status WatchSession(grpc::ServerContext* context, const v1::GetSessionRequest* request,
                            grpc::ServerWriter<v1::Session>* writer) override {
    v1::Session session;
    {
      absl::MutexLock lock(&state_.mutex);
      session = state_.sessions[request->name()];
    }
    v1::Session booting = session;
    booting.set_state(v1::Session::BOOTING);
    writer->Write(booting);
    AwaitOrCancelled(state_, context, [this] { return !state_.hold_boot; });
    writer->Write(session);
    return grpc::Status::OK;
  }

  grpc::Status DeleteSession(grpc::ServerContext*, const v1::DeleteSessionRequest* request,
                             google::protobuf::Empty*) override {
    absl::MutexLock lock(&state_.mutex);
    state_.sessions.erase(request->name());
    return grpc::Status::OK;
  }

  grpc::Status ResetSession(grpc::ServerContext*, const v1::ResetSessionRequest* request,
                            v1::Session* session) override {
    absl::MutexLock lock(&state_.mutex);
    const auto found = state_.sessions.find(request->name());
    if (found == state_.sessions.end()) return NotFound(request->name());
    *session = found->second;
    session->set_state(v1::Session::BOOTING);
    return grpc::Status::OK;
  }

  grpc::Status DumpSession(grpc::ServerContext*, const v1::DumpSessionRequest* request,
                           v1::Artifact* artifact) override {
    absl::MutexLock lock(&state_.mutex);
    if (!state_.sessions.contains(request->name())) return NotFound(request->name());
    state_.dumps.push_back(*request);
    artifact->set_name("artifacts/a-dump");
    artifact->set_kind(v1::Artifact::DUMP);
    return grpc::Status::OK;
  }

  grpc::Status SaveSession(grpc::ServerContext*, const v1::SaveSessionRequest* request,
                           v1::Artifact* artifact) override {
    absl::MutexLock lock(&state_.mutex);
    if (!state_.sessions.contains(request->name())) return NotFound(request->name());
    artifact->set_name("artifacts/a-saved");
    artifact->set_kind(v1::Artifact::SAVED_STATE);
    return grpc::Status::OK;
  }

  grpc::Status RestoreSession(grpc::ServerContext*, const v1::RestoreSessionRequest* request,
                              v1::Session* session) override {
    absl::MutexLock lock(&state_.mutex);
    state_.restores.push_back(*request);
    *session = state_.sessions["sessions/s-1"];
    return grpc::Status::OK;
  }

  grpc::Status ReadConsole(grpc::ServerContext* context, const v1::ReadConsoleRequest* request,
                           grpc::ServerWriter<v1::ConsoleChunk>* writer) override {
    {
      absl::MutexLock lock(&state_.mutex);
      v1::ConsoleChunk chunk;
      chunk.set_offset_bytes(request->offset_bytes());
      chunk.set_data(state_.console.substr(static_cast<std::size_t>(request->offset_bytes())));
      if (!chunk.data().empty()) writer->Write(chunk);
    }
    if (request->follow()) {
      AwaitOrCancelled(state_, context, [this] { return state_.end_console; });
    }
    return grpc::Status::OK;
  }

  // Answers every input with itself in brackets.
  grpc::Status AttachConsole(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ConsoleChunk, v1::AttachConsoleRequest>* stream) override {
    v1::AttachConsoleRequest message;
    stream->Read(&message);
    v1::ConsoleChunk chunk;
    {
      absl::MutexLock lock(&state_.mutex);
      chunk.set_data(state_.console);
    }
    stream->Write(chunk);
    while (stream->Read(&message)) {
      {
        absl::MutexLock lock(&state_.mutex);
        state_.console_input += message.input();
      }
      chunk.set_data("[" + message.input() + "]");
      stream->Write(chunk);
    }
    return grpc::Status::OK;
  }

  // Echoes.
  grpc::Status AttachGdb(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::GdbServerFrame, v1::GdbClientFrame>* stream) override {
    v1::GdbClientFrame frame;
    stream->Read(&frame);
    {
      absl::MutexLock lock(&state_.mutex);
      state_.gdb_took_over = frame.start().take_over();
    }
    if (frame.start().name() == "sessions/s-busy") {
      return ToGrpcStatus(MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                                    "sessions/s-busy is held by user bob", {{"holder", "bob"}}));
    }
    while (stream->Read(&frame)) {
      {
        absl::MutexLock lock(&state_.mutex);
        state_.gdb_input += frame.rsp();
      }
      v1::GdbServerFrame answer;
      answer.set_rsp(frame.rsp());
      stream->Write(answer);
    }
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewFakeSessionService(FakeState& state) {
  return std::make_unique<FakeSessionService>(state);
}

}  // namespace kdbg::test
