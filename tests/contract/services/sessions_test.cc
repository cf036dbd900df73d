// Sessions, their console and gdb over the wire; and the server's account of itself.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

class SessionsTest : public testing::Test {
 protected:
  absl::StatusOr<v1::Session> Create(Client& client, const v1::CreateSessionRequest& request) {
    grpc::ClientContext context;
    v1::Session session;
    const grpc::Status status = client.sessions->CreateSession(&context, request, &session);
    if (!status.ok()) return FromGrpcStatus(status);
    return session;
  }

  // Stops before the first instruction: nothing has to boot.
  static v1::CreateSessionRequest AtReset() {
    v1::CreateSessionRequest request;
    request.mutable_session()->mutable_stop_point()->set_reset(true);
    request.mutable_session()->set_initramfs("none");
    return request;
  }

  std::string CreateReady(Client& client) {
    const auto session = Create(client, AtReset());
    EXPECT_TRUE(session.ok()) << session.status();
    if (!session.ok()) return "";
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_name(session->name());
    const auto reader = client.sessions->WatchSession(&context, request);
    v1::Session now;
    while (reader->Read(&now)) {
      if (now.state() == v1::Session::READY) break;
      EXPECT_NE(now.state(), v1::Session::FAILED) << now.failure().message();
    }
    EXPECT_EQ(now.state(), v1::Session::READY);
    context.TryCancel();
    reader->Finish();
    return session->name();
  }

  static std::string IdOf(const std::string& name) { return name.substr(name.find('/') + 1); }

  absl::Status Delete(Client& client, const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteSessionRequest request;
    request.set_name(name);
    google::protobuf::Empty nothing;
    return FromGrpcStatus(client.sessions->DeleteSession(&context, request, &nothing));
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
  Client bob_ = daemon_.As(kBob);
};

TEST_F(SessionsTest, WithoutABuildTheCallerIsToldToMakeOne) {
  const auto session = Create(alice_, AtReset());
  EXPECT_EQ(session.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(HasReason(session.status(), Reason::kNoDefaultBuild));
  EXPECT_EQ(GetErrorDetail(session.status())->metadata.at("kind"), "kernel");
}

TEST_F(SessionsTest, TheDefaultIsTheCallersNewestKernelAndOthersSharedOnesCanBeNamed) {
  const SeededBuild bobs = daemon_.SeedKernel("bob");
  EXPECT_FALSE(Create(alice_, AtReset()).ok());
  v1::CreateSessionRequest named = AtReset();
  named.mutable_session()->set_kernel("builds/" + bobs.build_id);
  EXPECT_TRUE(Create(alice_, named).ok());
  const SeededBuild own = daemon_.SeedKernel("alice");
  const auto session = Create(alice_, AtReset());
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->kernel(), "builds/" + own.build_id);
  EXPECT_EQ(session->initramfs(), "none");
}

TEST_F(SessionsTest, TheDefaultInitramfsIsTheNewestForTheKernelsArchitecture) {
  daemon_.SeedKernel("alice");
  const bool on_arm64 = HostArchitecture() == Architecture::kArm64;
  const Architecture other = on_arm64 ? Architecture::kX86_64 : Architecture::kArm64;
  daemon_.SeedInitramfs("alice", other);
  v1::CreateSessionRequest request = AtReset();
  request.mutable_session()->clear_initramfs();
  const auto refused = Create(alice_, request);
  EXPECT_TRUE(HasReason(refused.status(), Reason::kNoDefaultBuild)) << refused.status();
  const SeededBuild right = daemon_.SeedInitramfs("alice");
  daemon_.SeedInitramfs("alice", other);
  const auto session = Create(alice_, request);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->initramfs(), "builds/" + right.build_id);
}

TEST_F(SessionsTest, AnothersPrivateKernelIsNotThere) {
  const SeededBuild hidden = daemon_.SeedKernel("bob", /*is_private=*/true);
  v1::CreateSessionRequest request = AtReset();
  request.mutable_session()->set_kernel(hidden.build_id);
  EXPECT_EQ(Create(alice_, request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SessionsTest, AFolderIsTheCallersOwnUploadAndWhole) {
  daemon_.SeedKernel("alice");
  daemon_.SeedKernel("bob");
  v1::CreateUploadRequest announced;
  announced.set_sha256(std::string(64, 'a'));
  announced.set_size_bytes(100);
  grpc::ClientContext context;
  v1::Upload upload;
  ASSERT_TRUE(alice_.sources->CreateUpload(&context, announced, &upload).ok());
  v1::CreateSessionRequest request = AtReset();
  request.mutable_session()->set_initramfs("none");
  request.mutable_session()->mutable_folder()->set_upload(upload.name());
  EXPECT_TRUE(HasReason(Create(alice_, request).status(), Reason::kUploadIncomplete));
  EXPECT_EQ(Create(bob_, request).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SessionsTest, AMalformedRequestIsRefusedAndLeavesNothing) {
  daemon_.SeedKernel("alice");
  const SeededBuild initramfs = daemon_.SeedInitramfs("alice");
  const std::function<void(v1::Session*)> cases[] = {
      [](v1::Session* session) { session->mutable_shape()->set_memory_mib(0); },
      [](v1::Session* session) { session->mutable_shape()->set_memory_mib(-1); },
      [](v1::Session* session) { session->mutable_shape()->set_memory_mib(1 << 30); },
      [](v1::Session* session) { session->mutable_shape()->set_vcpu_count(-1); },
      [](v1::Session* session) { session->mutable_shape()->set_vcpu_count(1000); },
      [](v1::Session* session) {
        session->mutable_shape()->set_accelerator(static_cast<v1::GuestShape::Accelerator>(9));
      },
      [](v1::Session* session) { session->mutable_stop_point()->set_symbol(""); },
      [](v1::Session* session) { session->mutable_ttl()->set_seconds(0); },
      [](v1::Session* session) { session->mutable_ttl()->set_seconds(-5); },
      [](v1::Session* session) { session->mutable_ttl()->set_seconds(INT64_MAX); },
      [](v1::Session* session) { session->set_kernel_arguments(std::string(1025, 'x')); },
      [](v1::Session* session) { session->set_kernel("sessions/x"); },
      [](v1::Session* session) { session->mutable_disk(); },
      [](v1::Session* session) { session->mutable_folder(); },
      [](v1::Session* session) { session->mutable_folder()->set_upload("artifacts/a-1"); },
      [](v1::Session* session) { session->add_devices("vfio-pci,host=00:02.0"); },
      [](v1::Session* session) {
        session->add_devices("edu");
        session->add_devices("edu");
      },
      [](v1::Session* session) { session->mutable_disk()->set_image("../vmlinux.img"); },
      [](v1::Session* session) { session->mutable_network()->add_forwards(); },
      [](v1::Session* session) {
        session->mutable_network()->add_forwards()->set_guest_port(65536);
      },
      [](v1::Session* session) {
        for (int i = 0; i < 2; ++i) session->mutable_network()->add_forwards()->set_guest_port(22);
      },
      [](v1::Session* session) {
        for (int i = 1; i <= 9; ++i) session->mutable_network()->add_forwards()->set_guest_port(i);
      },
      [&](v1::Session* session) { session->set_kernel(initramfs.build_id); },
  };
  int index = 0;
  for (const auto& spoil : cases) {
    SCOPED_TRACE(index++);
    v1::CreateSessionRequest request = AtReset();
    spoil(request.mutable_session());
    EXPECT_EQ(Create(alice_, request).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(daemon_.hypervisor().created().empty());
}

TEST_F(SessionsTest, AnAcceleratorThatDoesNotWorkHereIsSaid) {
  daemon_.SeedKernel("alice");
  v1::CreateSessionRequest request = AtReset();
  request.mutable_session()->mutable_shape()->set_accelerator(v1::GuestShape::KVM);
  EXPECT_TRUE(HasReason(Create(alice_, request).status(), Reason::kAcceleratorUnavailable));
}

TEST_F(SessionsTest, ARepeatedRequestIsAnsweredWithTheFirstOnesSession) {
  daemon_.SeedKernel("alice");
  daemon_.SeedKernel("bob");
  v1::CreateSessionRequest request = AtReset();
  request.set_request_id("0b0f7c52-5f6f-4a3e-9f39-3f1d2b1c0a99");
  const auto first = Create(alice_, request);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Create(alice_, request)->name(), first->name());
  EXPECT_NE(Create(bob_, request)->name(), first->name());
  request.set_request_id("not an id");
  EXPECT_EQ(Create(alice_, request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionsTest, StrangersSeeWhoHoldsWhatAndNoMore) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  v1::ListSessionsRequest request;
  v1::ListSessionsResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(bob_.sessions->ListSessions(&context, request, &response).ok());
    EXPECT_EQ(response.sessions_size(), 0);
  }
  request.set_all_owners(true);
  grpc::ClientContext context;
  ASSERT_TRUE(bob_.sessions->ListSessions(&context, request, &response).ok());
  ASSERT_EQ(response.sessions_size(), 1);
  const v1::Session& seen = response.sessions(0);
  EXPECT_EQ(seen.name(), name);
  EXPECT_EQ(seen.owner(), "alice");
  EXPECT_EQ(seen.shape().memory_mib(), 256);
  EXPECT_FALSE(seen.has_gdb());
  EXPECT_TRUE(seen.command_line().empty());
  EXPECT_EQ(Delete(bob_, name).code(), absl::StatusCode::kNotFound);
}

TEST_F(SessionsTest, DeletingEndsTheWatchAndIsIdempotent) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  grpc::ClientContext context;
  v1::GetSessionRequest request;
  request.set_name(name);
  const auto reader = alice_.sessions->WatchSession(&context, request);
  v1::Session now;
  ASSERT_TRUE(reader->Read(&now));
  EXPECT_TRUE(Delete(alice_, name).ok());
  while (reader->Read(&now)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(now.state(), v1::Session::ENDED);
  EXPECT_EQ(now.end_reason(), "DELETED");
  EXPECT_TRUE(Delete(alice_, name).ok());
  EXPECT_EQ(Delete(alice_, "sessions/none").code(), absl::StatusCode::kNotFound);
}

TEST_F(SessionsTest, ALeaseIsRenewedWithinItsBounds) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  v1::RenewSessionRequest request;
  request.set_name(name);
  request.mutable_ttl()->set_seconds(7200);
  v1::Session renewed;
  grpc::ClientContext context;
  ASSERT_TRUE(alice_.sessions->RenewSession(&context, request, &renewed).ok());
  request.mutable_ttl()->set_seconds(1'000'000);
  grpc::ClientContext too_long;
  EXPECT_EQ(alice_.sessions->RenewSession(&too_long, request, &renewed).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(SessionsTest, TheConsoleIsReadFromAnyOffsetAndFollowedToTheEnd) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  daemon_.Print(IdOf(name), "Linux version 6.1\n");
  v1::ReadConsoleRequest request;
  request.set_name(name);
  const auto read = [&](std::int64_t offset) -> absl::StatusOr<std::string> {
    request.set_offset_bytes(offset);
    request.set_follow(false);
    grpc::ClientContext context;
    const auto reader = alice_.sessions->ReadConsole(&context, request);
    std::string text;
    v1::ConsoleChunk chunk;
    while (reader->Read(&chunk)) text += chunk.data();
    const grpc::Status status = reader->Finish();
    if (!status.ok()) return FromGrpcStatus(status);
    return text;
  };
  EXPECT_EQ(*read(0), "Linux version 6.1\n");
  EXPECT_EQ(*read(14), "6.1\n");
  EXPECT_EQ(*read(-4), "6.1\n");
  EXPECT_TRUE(HasReason(read(1000).status(), Reason::kOffsetOutOfRange));

  request.set_offset_bytes(14);
  request.set_follow(true);
  grpc::ClientContext context;
  const auto reader = alice_.sessions->ReadConsole(&context, request);
  v1::ConsoleChunk chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(chunk.data(), "6.1\n");
  daemon_.Print(IdOf(name), "more\n");
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(chunk.offset_bytes(), 18);
  EXPECT_EQ(chunk.data(), "more\n");
  EXPECT_TRUE(Delete(alice_, name).ok());
  while (reader->Read(&chunk)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
}

using ConsoleStream =
    std::unique_ptr<grpc::ClientReaderWriter<v1::AttachConsoleRequest, v1::ConsoleChunk>>;

TEST_F(SessionsTest, OneWriterAtATimeHasTheConsoleAndASecondMayTakeItOver) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  daemon_.Print(IdOf(name), "login:");
  grpc::ClientContext first_context;
  const ConsoleStream first = alice_.sessions->AttachConsole(&first_context);
  v1::AttachConsoleRequest request;
  request.mutable_start()->set_name(name);
  ASSERT_TRUE(first->Write(request));
  v1::ConsoleChunk chunk;
  ASSERT_TRUE(first->Read(&chunk));
  EXPECT_EQ(chunk.data(), "login:");
  v1::AttachConsoleRequest input;
  input.set_input("root\n");
  ASSERT_TRUE(first->Write(input));
  EXPECT_EQ(daemon_.Typed(IdOf(name), 5), "root\n");

  const auto attach = [&](bool take_over, grpc::ClientContext* context) {
    ConsoleStream stream = alice_.sessions->AttachConsole(context);
    v1::AttachConsoleRequest start;
    start.mutable_start()->set_name(name);
    start.mutable_start()->set_take_over(take_over);
    EXPECT_TRUE(stream->Write(start));
    return stream;
  };
  grpc::ClientContext refused_context;
  const ConsoleStream refused = attach(false, &refused_context);
  EXPECT_FALSE(refused->Read(&chunk));
  const absl::Status status = FromGrpcStatus(refused->Finish());
  EXPECT_TRUE(HasReason(status, Reason::kHolderBusy));
  EXPECT_EQ(GetErrorDetail(status)->metadata.at("holder"), "alice");

  grpc::ClientContext second_context;
  const ConsoleStream second = attach(true, &second_context);
  ASSERT_TRUE(second->Read(&chunk));
  while (first->Read(&chunk)) {
  }
  EXPECT_TRUE(HasReason(FromGrpcStatus(first->Finish()), Reason::kHolderBusy));
  second_context.TryCancel();
  second->Finish();
}

// One packet of gdb's protocol.
std::string Packet(const std::string& payload) {
  unsigned sum = 0;
  for (const unsigned char c : payload) sum += c;
  char end[4];
  std::snprintf(end, sizeof(end), "#%02x", sum & 0xff);
  return "$" + payload + end;
}

using GdbStream = std::unique_ptr<grpc::ClientReaderWriter<v1::GdbClientFrame, v1::GdbServerFrame>>;

TEST_F(SessionsTest, GdbSpeaksThroughTheStreamAndOneClientHoldsTheGuest) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  grpc::ClientContext context;
  const GdbStream gdb = alice_.sessions->AttachGdb(&context);
  v1::GdbClientFrame frame;
  frame.mutable_start()->set_name(name);
  frame.mutable_start()->set_frame_version(1);
  ASSERT_TRUE(gdb->Write(frame));
  frame.set_rsp("+" + Packet("?"));
  ASSERT_TRUE(gdb->Write(frame));
  std::string answers;
  v1::GdbServerFrame answer;
  while (answers.find("$T05") == std::string::npos && gdb->Read(&answer)) answers += answer.rsp();
  EXPECT_NE(answers.find("$T05"), std::string::npos) << answers;

  grpc::ClientContext second_context;
  const GdbStream second = alice_.sessions->AttachGdb(&second_context);
  v1::GdbClientFrame start;
  start.mutable_start()->set_name(name);
  ASSERT_TRUE(second->Write(start));
  EXPECT_FALSE(second->Read(&answer));
  const absl::Status refused = FromGrpcStatus(second->Finish());
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(refused)->metadata.at("holder"), "user alice");

  // Its owner may have it back.
  grpc::ClientContext third_context;
  const GdbStream third = alice_.sessions->AttachGdb(&third_context);
  start.mutable_start()->set_take_over(true);
  start.mutable_start()->set_frame_version(2);
  ASSERT_TRUE(third->Write(start));
  ASSERT_TRUE(third->Read(&answer));
  EXPECT_TRUE(answer.has_ahead()) << answer.DebugString();
  EXPECT_GT(answer.ahead().answers_size(), 10);

  gdb->WritesDone();
  while (gdb->Read(&answer)) {
  }
  EXPECT_TRUE(gdb->Finish().ok());
  third->WritesDone();
  while (third->Read(&answer)) {
  }
  EXPECT_TRUE(third->Finish().ok());
}

TEST_F(SessionsTest, AColleagueReadsOrControlsWhatIsSharedUntilItIsTakenBack) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  const auto share = [&](Client& client, const std::string& user, auto access) {
    grpc::ClientContext context;
    v1::ShareSessionRequest request;
    request.set_name(name);
    request.mutable_share()->set_user(user);
    request.mutable_share()->set_access(access);
    v1::Session session;
    return FromGrpcStatus(client.sessions->ShareSession(&context, request, &session)).code();
  };
  const auto of_bob = [&](auto method, auto request) {
    grpc::ClientContext context;
    request.set_name(name);
    v1::Session session;
    return FromGrpcStatus((*bob_.sessions.*method)(&context, request, &session)).code();
  };
  const auto see = [&] {
    return of_bob(&v1::SessionService::StubInterface::GetSession, v1::GetSessionRequest());
  };
  const auto resume = [&] {
    return of_bob(&v1::SessionService::StubInterface::ResumeSession, v1::ResumeSessionRequest());
  };
  using Share = v1::Session::Share;
  EXPECT_EQ(see(), absl::StatusCode::kNotFound);
  EXPECT_EQ(share(bob_, "bob", Share::CONTROL), absl::StatusCode::kNotFound);
  EXPECT_EQ(share(alice_, "bob", Share::READ), absl::StatusCode::kOk);
  EXPECT_EQ(see(), absl::StatusCode::kOk);
  EXPECT_EQ(resume(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(share(bob_, "mallory", Share::READ), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(share(alice_, "bob", Share::CONTROL), absl::StatusCode::kOk);
  EXPECT_EQ(resume(), absl::StatusCode::kOk);
  {
    grpc::ClientContext context;
    const GdbStream taking = bob_.sessions->AttachGdb(&context);
    v1::GdbClientFrame frame;
    frame.mutable_start()->set_name(name);
    frame.mutable_start()->set_take_over(true);
    taking->Write(frame);
    v1::GdbServerFrame answer;
    EXPECT_FALSE(taking->Read(&answer));
    EXPECT_EQ(FromGrpcStatus(taking->Finish()).code(), absl::StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(Delete(bob_, name).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(share(alice_, "bob", Share::NONE), absl::StatusCode::kOk);
  EXPECT_EQ(see(), absl::StatusCode::kNotFound);
  EXPECT_EQ(share(alice_, "nobody-here", Share::READ), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(share(alice_, "alice", Share::READ), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(share(alice_, "bob", Share::ACCESS_UNSPECIFIED), absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionsTest, AShareThatIsTakenBackEndsTheStreamsItAllowed) {
  daemon_.SeedKernel("alice");
  const std::string name = CreateReady(alice_);
  const auto share = [&](auto access) {
    grpc::ClientContext context;
    v1::ShareSessionRequest request;
    request.set_name(name);
    request.mutable_share()->set_user("bob");
    request.mutable_share()->set_access(access);
    v1::Session session;
    ASSERT_TRUE(alice_.sessions->ShareSession(&context, request, &session).ok());
  };
  share(v1::Session::Share::CONTROL);
  grpc::ClientContext watch_context;
  v1::GetSessionRequest get;
  get.set_name(name);
  const auto watch = bob_.sessions->WatchSession(&watch_context, get);
  v1::Session seen;
  ASSERT_TRUE(watch->Read(&seen));
  grpc::ClientContext console_context;
  const ConsoleStream console = bob_.sessions->AttachConsole(&console_context);
  v1::AttachConsoleRequest begin;
  begin.mutable_start()->set_name(name);
  ASSERT_TRUE(console->Write(begin));
  daemon_.Print(IdOf(name), "login:");
  v1::ConsoleChunk chunk;
  ASSERT_TRUE(console->Read(&chunk));
  grpc::ClientContext gdb_context;
  const GdbStream gdb = bob_.sessions->AttachGdb(&gdb_context);
  v1::GdbClientFrame frame;
  frame.mutable_start()->set_name(name);
  ASSERT_TRUE(gdb->Write(frame));
  frame.set_rsp("$?#3f");
  ASSERT_TRUE(gdb->Write(frame));
  v1::GdbServerFrame answer;
  ASSERT_TRUE(gdb->Read(&answer));

  share(v1::Session::Share::READ);
  while (gdb->Read(&answer)) {
  }
  EXPECT_EQ(FromGrpcStatus(gdb->Finish()).code(), absl::StatusCode::kPermissionDenied);
  while (console->Read(&chunk)) {
  }
  EXPECT_EQ(FromGrpcStatus(console->Finish()).code(), absl::StatusCode::kPermissionDenied);

  share(v1::Session::Share::NONE);
  while (watch->Read(&seen)) {
  }
  EXPECT_EQ(FromGrpcStatus(watch->Finish()).code(), absl::StatusCode::kNotFound);
}

TEST_F(SessionsTest, OnlyWhoMaySeeASavedStateGoesOnFromIt) {
  daemon_.SeedKernel("alice");
  v1::SaveSessionRequest save;
  save.set_name(CreateReady(alice_));
  v1::Artifact saved;
  grpc::ClientContext saving;
  ASSERT_TRUE(alice_.sessions->SaveSession(&saving, save, &saved).ok());
  EXPECT_EQ(saved.kind(), v1::Artifact::SAVED_STATE);
  const auto restore = [&](Client& client, const std::string& artifact) {
    grpc::ClientContext context;
    v1::RestoreSessionRequest request;
    request.set_artifact(artifact);
    v1::Session session;
    const absl::Status status =
        FromGrpcStatus(client.sessions->RestoreSession(&context, request, &session));
    if (status.ok()) {
      EXPECT_EQ(session.saved_state(), artifact);
    }
    return status.code();
  };
  EXPECT_EQ(restore(alice_, saved.name()), absl::StatusCode::kOk);
  EXPECT_EQ(restore(bob_, saved.name()), absl::StatusCode::kNotFound);
  EXPECT_EQ(restore(alice_, "artifacts/a-none"), absl::StatusCode::kNotFound);
  EXPECT_EQ(restore(alice_, "sessions/s-1"), absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionsTest, ADumpOfASharedBuildIsNotSharedWithIt) {
  const SeededBuild kernel = daemon_.SeedKernel("alice", /*is_private=*/true);
  v1::DumpSessionRequest request;
  request.set_name(CreateReady(alice_));
  v1::Artifact dump;
  grpc::ClientContext dumping;
  ASSERT_TRUE(alice_.sessions->DumpSession(&dumping, request, &dump).ok());
  v1::ShareBuildRequest share;
  share.set_name("builds/" + kernel.build_id);
  share.set_user("bob");
  v1::Build shared;
  grpc::ClientContext sharing;
  ASSERT_TRUE(alice_.builds->ShareBuild(&sharing, share, &shared).ok());
  v1::GetArtifactRequest get;
  get.set_name(dump.name());
  v1::Artifact seen;
  grpc::ClientContext getting;
  EXPECT_EQ(FromGrpcStatus(bob_.artifacts->GetArtifact(&getting, get, &seen)).code(),
            absl::StatusCode::kNotFound);
  v1::ListArtifactsRequest list;
  list.set_all_owners(true);
  v1::ListArtifactsResponse listed;
  grpc::ClientContext listing;
  ASSERT_TRUE(bob_.artifacts->ListArtifacts(&listing, list, &listed).ok());
  ASSERT_EQ(listed.artifacts_size(), 1);
  EXPECT_EQ(listed.artifacts(0).name(), "artifacts/" + kernel.artifact_id);
}

TEST_F(SessionsTest, WhoControlsASessionGetsNeitherItsPrivateKernelNorGuestsOfIt) {
  daemon_.SeedKernel("alice", /*is_private=*/true);
  const std::string name = CreateReady(alice_);
  v1::ShareSessionRequest share;
  share.set_name(name);
  share.mutable_share()->set_user("bob");
  share.mutable_share()->set_access(v1::Session::Share::CONTROL);
  v1::Session shared;
  grpc::ClientContext sharing;
  ASSERT_TRUE(alice_.sessions->ShareSession(&sharing, share, &shared).ok());
  v1::DumpSessionRequest request;
  request.set_name(name);
  v1::Artifact dump;
  grpc::ClientContext dumping;
  ASSERT_TRUE(bob_.sessions->DumpSession(&dumping, request, &dump).ok());
  ASSERT_EQ(dump.files_size(), 1);
  EXPECT_EQ(dump.files(0).path(), "vmcore");
  v1::SaveSessionRequest save;
  save.set_name(name);
  v1::Artifact saved;
  grpc::ClientContext saving;
  ASSERT_TRUE(bob_.sessions->SaveSession(&saving, save, &saved).ok());
  v1::RestoreSessionRequest restore;
  restore.set_artifact(saved.name());
  v1::Session restored;
  grpc::ClientContext restoring;
  EXPECT_EQ(FromGrpcStatus(bob_.sessions->RestoreSession(&restoring, restore, &restored)).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SessionsTest, ADumpIsAnArtifactThatOnlyItsOwnerSees) {
  const SeededBuild kernel = daemon_.SeedKernel("alice");
  v1::DumpSessionRequest request;
  request.set_name(CreateReady(alice_));
  v1::Artifact dump;
  grpc::ClientContext context;
  ASSERT_TRUE(alice_.sessions->DumpSession(&context, request, &dump).ok());
  EXPECT_EQ(dump.kind(), v1::Artifact::DUMP);
  EXPECT_EQ(dump.build(), "builds/" + kernel.build_id);
  ASSERT_EQ(dump.files_size(), 2);
  EXPECT_EQ(dump.files(0).path(), "vmcore");
  EXPECT_EQ(dump.files(1).path(), "vmlinux");
  const auto seen_by = [&](Client& client) {
    grpc::ClientContext another;
    v1::GetArtifactRequest get;
    get.set_name(dump.name());
    v1::Artifact seen;
    return FromGrpcStatus(client.artifacts->GetArtifact(&another, get, &seen)).code();
  };
  EXPECT_EQ(seen_by(alice_), absl::StatusCode::kOk);
  EXPECT_EQ(seen_by(bob_), absl::StatusCode::kNotFound);
  grpc::ClientContext third;
  request.set_format(static_cast<v1::DumpSessionRequest::Format>(9));
  EXPECT_EQ(FromGrpcStatus(alice_.sessions->DumpSession(&third, request, &dump)).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SessionsTest, TheServerTellsWhatItIsAndWhomItSees) {
  grpc::ClientContext context;
  v1::ServerInfo info;
  ASSERT_TRUE(bob_.server->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.user(), "bob");
  EXPECT_EQ(info.role(), "user");
  EXPECT_EQ(info.version(), "0.1.0");
  ASSERT_EQ(info.accelerators_size(), 2);
  EXPECT_FALSE(info.accelerators(0).usable());
  EXPECT_EQ(info.accelerators(0).reason(), "not in tests");
  EXPECT_GT(info.capacity().memory_mib(), 0);
  EXPECT_GT(info.capacity().disk_free_bytes(), 0);
  EXPECT_EQ(info.session_limits().first_port(), 24000);
  EXPECT_EQ(info.libvirt_uri(), "fake:///");
}

}  // namespace
}  // namespace kdbg
