// Who gets in over TCP, and how far: a real listener, real handshakes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <memory>
#include <string>
#include <vector>

#include "kdbg/v1/user_service.grpc.pb.h"
#include "proto/contract/enrollment_code.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "proto/support/file.h"
#include "proto/support/unique_fd.h"
#include "proto/support/x509.h"
#include "tests/contract/kit/tls_server.h"

namespace kdbg {
namespace {

void SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
}

absl::StatusOr<v1::ServerInfo> GetInfo(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::ServerInfo info;
  const grpc::Status status =
      v1::ServerService::NewStub(channel)->GetServerInfo(&context, {}, &info);
  if (!status.ok()) return FromGrpcStatus(status);
  return info;
}

absl::StatusOr<v1::CertificateResponse> Enroll(const std::shared_ptr<grpc::Channel>& channel,
                                               const std::string& code,
                                               const PrivateKey& key = *NewPrivateKey()) {
  grpc::ClientContext context;
  SetDeadline(context);
  v1::EnrollRequest request;
  request.set_code(code);
  request.set_certificate_request(*NewCertificateRequest(key));
  v1::CertificateResponse response;
  const grpc::Status status =
      v1::UserService::NewStub(channel)->Enroll(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

constexpr int kNoPeer = 14;  // UNAVAILABLE: no connection came about

TEST(TlsTest, AnEnrolledMachineIsItsUser) {
  TlsServer server;
  const auto info = GetInfo(server.Connect(server.NewUser("carol")));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->user(), "carol");
  EXPECT_EQ(info->role(), "user");
}

TEST(TlsTest, ACodeIsExchangedForACertificateThatLetsItsKeyIn) {
  TlsServer server;
  const PrivateKey key = *NewPrivateKey();
  const auto answer = Enroll(server.Connect({}), server.NewCode("carol"), key);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->authority(), server.authority().pem());
  const auto info = GetInfo(server.Connect(
      {.key_pem = *ToPem(key), .certificate_pem = answer->certificate()}, answer->authority()));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->user(), "carol");
}

TEST(TlsTest, WithoutACertificateThereIsEnrolmentAndNothingElse) {
  TlsServer server;
  const auto stranger = server.Connect({});
  for (const char* path :
       {"/kdbg.v1.ServerService/GetServerInfo", "/kdbg.v1.SessionService/WatchSession",
        "/kdbg.v1.SessionService/AttachGdb", "/kdbg.v1.BuildService/CreateBuild",
        "/kdbg.v1.UserService/ListUsers", "/kdbg.v1.UserService/CreateEnrollment",
        "/kdbg.v1.UserService/RenewCertificate", "/no.such.Service/Method"}) {
    SCOPED_TRACE(path);
    const absl::Status status = CallRaw(stranger, path, "").status;
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << status;
    EXPECT_TRUE(HasReason(status, Reason::kUnauthenticated));
  }
}

TEST(TlsTest, ACodeIsGoodOnce) {
  TlsServer server;
  const std::string code = server.NewCode("carol");
  EXPECT_TRUE(Enroll(server.Connect({}), code).ok());
  const auto again = Enroll(server.Connect({}), code);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kPermissionDenied);
}

TEST(TlsTest, ACodeOfAnotherServerIsRefused) {
  TlsServer server;
  TlsServer other;
  EXPECT_EQ(Enroll(server.Connect({}), other.NewCode("carol")).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST(TlsTest, GuessingCodesIsCutShort) {
  TlsServer server;
  const auto stranger = server.Connect({});
  const std::string good = server.NewCode("carol");
  const std::string wrong = ToString(EnrollmentCode{
      .secret = std::string(16, 'x'), .fingerprint = server.authority().fingerprint()});
  for (int i = 0; i < access::AttemptLimit::kAtOnce; ++i)
    EXPECT_FALSE(Enroll(stranger, wrong).ok());
  EXPECT_EQ(Enroll(stranger, good).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(TlsTest, ACertificateOfAnotherAuthorityEndsInTheHandshake) {
  TlsServer server;
  TlsServer other;
  const auto info = GetInfo(server.Connect(other.NewUser("carol")));
  EXPECT_EQ(static_cast<int>(info.status().code()), kNoPeer) << info.status();
}

TEST(TlsTest, AnExpiredCertificateEndsInTheHandshake) {
  TlsServer server;
  const PrivateKey key = *NewPrivateKey();
  const auto issued = server.authority().IssueToUser(
      "carol", *NewCertificateRequest(key), absl::Now() - absl::Hours(48), absl::Hours(24));
  const auto info =
      GetInfo(server.Connect({.key_pem = *ToPem(key), .certificate_pem = issued->pem}));
  EXPECT_EQ(static_cast<int>(info.status().code()), kNoPeer) << info.status();
}

TEST(TlsTest, ACertificateOfOursThatWasNeverHandedOutIsNobody) {
  TlsServer server;
  server.NewUser("carol");
  const PrivateKey key = *NewPrivateKey();
  const auto issued = server.authority().IssueToUser("carol", *NewCertificateRequest(key),
                                                     absl::Now(), absl::Hours(24));
  const auto info =
      GetInfo(server.Connect({.key_pem = *ToPem(key), .certificate_pem = issued->pem}));
  EXPECT_EQ(info.status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(TlsTest, TheServersOwnCertificateIsNoUsers) {
  TlsServer server;
  const auto material = server.keys().Current();
  const auto info = GetInfo(
      server.Connect({.key_pem = material->key_pem, .certificate_pem = material->chain_pem}));
  EXPECT_EQ(static_cast<int>(info.status().code()), kNoPeer) << info.status();
}

TEST(TlsTest, AClientDoesNotSpeakToAnotherServer) {
  TlsServer server;
  TlsServer other;
  const auto info = GetInfo(server.Connect(server.NewUser("carol"), other.authority().pem()));
  EXPECT_EQ(static_cast<int>(info.status().code()), kNoPeer) << info.status();
}

TEST(TlsTest, ARevokedUserIsRefusedAtTheNextCallAndTheirStreamsEnd) {
  TlsServer server;
  server.sessions().messages = 1;
  server.sessions().afterwards = service::Pull::kWait;
  const auto carol = server.Connect(server.NewUser("carol"));
  const auto dave = server.Connect(server.NewUser("dave"));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto watch = v1::SessionService::NewStub(carol)->WatchSession(&context, {});
  v1::Session session;
  ASSERT_TRUE(watch->Read(&session));

  grpc::ClientContext admin_context;
  v1::RevokeUserRequest revoke;
  revoke.set_name("users/carol");
  v1::User revoked;
  ASSERT_TRUE(v1::UserService::NewStub(server.AsAdmin())
                  ->RevokeUser(&admin_context, revoke, &revoked)
                  .ok());
  EXPECT_EQ(revoked.state(), v1::User::REVOKED);
  EXPECT_FALSE(watch->Read(&session));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(GetInfo(carol).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(GetInfo(dave).ok());
}

TEST(TlsTest, AnotherRoleEndsTheStreamsThatBeganWithTheOldOne) {
  TlsServer server;
  service::Waker wake;
  server.sessions().wake = &wake;
  server.sessions().messages = 1;
  server.sessions().afterwards = service::Pull::kWait;
  const auto carol = server.Connect(server.NewUser("carol"));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto watch = v1::SessionService::NewStub(carol)->WatchSession(&context, {});
  v1::Session session;
  ASSERT_TRUE(watch->Read(&session));
  const auto enrol = [&](const std::string& role) {
    grpc::ClientContext admin_context;
    v1::CreateEnrollmentRequest request;
    request.set_user("users/carol");
    request.set_role(role);
    v1::Enrollment enrollment;
    return v1::UserService::NewStub(server.AsAdmin())
        ->CreateEnrollment(&admin_context, request, &enrollment);
  };
  ASSERT_TRUE(enrol("user").ok());
  server.sessions().probe->pulls = 0;
  wake();
  ASSERT_TRUE(watch->Read(&session)) << "it is the role she had";
  ASSERT_TRUE(enrol("viewer").ok());
  EXPECT_FALSE(watch->Read(&session));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(GetInfo(carol)->role(), "viewer");
}

TEST(TlsTest, AConnectionEndsWithTheCertificateThatMadeIt) {
  TlsServerOptions options;
  options.settings.certificate_lifetime = absl::Seconds(6);
  TlsServer server(options);
  server.sessions().messages = 1;
  server.sessions().afterwards = service::Pull::kWait;
  const auto carol = server.Connect(server.NewUser("carol"));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto watch = v1::SessionService::NewStub(carol)->WatchSession(&context, {});
  v1::Session session;
  ASSERT_TRUE(watch->Read(&session));
  EXPECT_FALSE(watch->Read(&session));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  // In its last second it passes the handshake, and no further.
  EXPECT_THAT(static_cast<int>(GetInfo(carol).status().code()),
              testing::AnyOf(kNoPeer, static_cast<int>(absl::StatusCode::kUnauthenticated)));
}

TEST(TlsTest, ACertificateRenewsItselfOverTheConnectionItMade) {
  TlsServer server;
  const auto carol = server.Connect(server.NewUser("carol"));
  const PrivateKey key = *NewPrivateKey();
  grpc::ClientContext context;
  SetDeadline(context);
  v1::RenewCertificateRequest request;
  request.set_certificate_request(*NewCertificateRequest(key));
  v1::CertificateResponse response;
  const grpc::Status status =
      v1::UserService::NewStub(carol)->RenewCertificate(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto info =
      GetInfo(server.Connect({.key_pem = *ToPem(key), .certificate_pem = response.certificate()}));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->user(), "carol");
}

TEST(TlsTest, OnlyAdminsManageUsers) {
  TlsServer server;
  const auto carol = server.Connect(server.NewUser("carol"));
  for (const char* method : {"CreateEnrollment", "ListUsers", "RevokeUser", "DeleteUser"}) {
    EXPECT_EQ(CallRaw(carol, std::string("/kdbg.v1.UserService/") + method, "").status.code(),
              absl::StatusCode::kPermissionDenied)
        << method;
  }
}

// An organisation's own: each one signs itself, as a CA and as a user.
struct Organisation {
  explicit Organisation(const std::filesystem::path& directory)
      : authority(*access::CertificateAuthority::Open(directory / "org", absl::Now())),
        file(directory / "org" / "ca.pem") {}
  ClientKeys User(const std::string& name) const {
    const PrivateKey key = *NewPrivateKey();
    return {
        .key_pem = *ToPem(key),
        .certificate_pem =
            authority->IssueToUser(name, *NewCertificateRequest(key), absl::Now(), absl::Hours(1))
                ->pem};
  }
  std::unique_ptr<access::CertificateAuthority> authority;
  std::filesystem::path file;
};

TEST(TlsTest, AnOrganisationsAuthorityTakesThePlaceOfOurOwn) {
  TestDirectory directory;
  const Organisation organisation(directory.path());
  TlsServerOptions options;
  options.settings.client_ca = organisation.file;
  TlsServer server(options);
  const auto info = GetInfo(server.Connect(organisation.User("vera")));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->user(), "vera");
  EXPECT_EQ(info->role(), "viewer") << "as the configuration says";
}

TEST(TlsTest, NewConnectionsMeetTheFilesThatChanged) {
  TestDirectory directory;
  const Organisation first(directory.path() / "first");
  const Organisation second(directory.path() / "second");
  TlsServerOptions options;
  options.settings.client_ca = directory.path() / "ca.pem";
  std::filesystem::copy_file(first.file, options.settings.client_ca);
  TlsServer server(options);
  const auto before = server.Connect(first.User("vera"));
  EXPECT_TRUE(GetInfo(before).ok());
  std::filesystem::copy_file(second.file, options.settings.client_ca,
                             std::filesystem::copy_options::overwrite_existing);
  ASSERT_TRUE(server.keys().Reload().ok());
  EXPECT_TRUE(GetInfo(before).ok()) << "connections there are go on";
  EXPECT_TRUE(GetInfo(server.Connect(second.User("vera"))).ok());
  EXPECT_FALSE(GetInfo(server.Connect(first.User("vera"))).ok());
  ASSERT_TRUE(WriteFileAtomic(options.settings.client_ca, "torn").ok());
  EXPECT_EQ(server.keys().Reload().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(GetInfo(server.Connect(second.User("vera"))).ok()) << "as it was";
}

// A client that speaks no TLS, or stops in the middle.
class RawClient {
 public:
  explicit RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience = {.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  void Send(const std::string& bytes) {
    (void)!::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // Whether the server closes, whatever it says before.
  bool IsClosed() {
    char buffer[4096];
    ssize_t count = 0;
    while ((count = ::recv(fd_.get(), buffer, sizeof buffer, 0)) > 0) {
    }
    return count == 0 || errno == ECONNRESET;
  }

 private:
  const UniqueFd fd_;
};

TEST(TlsTest, PlainTextIsCutOff) {
  TlsServer server;
  RawClient client(server.port());
  client.Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  EXPECT_TRUE(client.IsClosed());
}

TEST(TlsTest, AHandshakeThatStandsStillIsCutOff) {
  TlsServerOptions options;
  options.limits.handshake_timeout = absl::Milliseconds(50);
  TlsServer server(options);
  RawClient client(server.port());
  client.Send("\x16\x03\x01");
  EXPECT_TRUE(client.IsClosed());
}

TEST(TlsTest, StrangersWhoStandAroundLeaveTheDoorToOthers) {
  TlsServerOptions options;
  options.limits.max_strangers_per_address = 2;
  TlsServer server(options);
  const ClientKeys keys = server.NewUser("carol");
  const auto carol = server.Connect(keys);
  ASSERT_TRUE(GetInfo(carol).ok());
  auto first = std::make_unique<RawClient>(server.port());
  auto second = std::make_unique<RawClient>(server.port());
  EXPECT_TRUE(RawClient(server.port()).IsClosed()) << "the third of this address";
  EXPECT_TRUE(GetInfo(carol).ok()) << "who is known already is no stranger";
  first.reset();
  second.reset();
  // When the places are free again is the listener's business: ask until they are.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (GetInfo(server.Connect(keys)).ok()) return;
  }
  FAIL() << "the places did not come back";
}

TEST(TlsTest, AStrangerIsCutOffInTheEnd) {
  TlsServerOptions options;
  options.limits.stranger_lifetime = absl::Milliseconds(100);
  TlsServer server(options);
  const auto stranger = server.Connect({});
  EXPECT_TRUE(
      stranger->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20)));
  EXPECT_TRUE(stranger->WaitForStateChange(
      GRPC_CHANNEL_READY, std::chrono::system_clock::now() + std::chrono::seconds(20)));
}

TEST(TlsTest, WhoAsksWithoutPauseIsRefusedAndNobodyElseIs) {
  TlsServerOptions options;
  options.gate.budget.calls_per_second = 1;
  options.gate.budget.burst = 3;
  TlsServer server(options);
  const auto carol = server.Connect(server.NewUser("carol"));
  const auto dave = server.Connect(server.NewUser("dave"));
  absl::Status answer;
  int answered = 0;
  while ((answer = GetInfo(carol).status()).ok()) ++answered;
  EXPECT_GE(answered, 3);
  EXPECT_TRUE(HasReason(answer, Reason::kTooManyCalls)) << answer;
  EXPECT_GT(GetErrorDetail(answer)->retry_delay, absl::ZeroDuration());
  EXPECT_TRUE(GetInfo(dave).ok());
  EXPECT_TRUE(GetInfo(server.AsAdmin()).ok());
}

TEST(TlsTest, AConnectionThatIsIdleIsCutAndHadAgain) {
  TlsServerOptions options;
  options.idle_limit = absl::Seconds(1);
  TlsServer server(options);
  const auto dave = server.Connect(server.NewUser("dave"));
  ASSERT_TRUE(GetInfo(dave).ok());
  EXPECT_TRUE(dave->WaitForStateChange(
      GRPC_CHANNEL_READY, std::chrono::system_clock::now() + std::chrono::seconds(20)));
  EXPECT_TRUE(GetInfo(dave).ok());
}

TEST(TlsTest, WhoWasRevokedIsToldSoAndCutOffAsAStranger) {
  TlsServerOptions options;
  options.limits.stranger_lifetime = absl::Seconds(2);
  TlsServer server(options);
  const ClientKeys keys = server.NewUser("carol");
  ASSERT_TRUE(GetInfo(server.Connect(keys)).ok());
  grpc::ClientContext admin_context;
  v1::RevokeUserRequest revoke;
  revoke.set_name("users/carol");
  v1::User revoked;
  ASSERT_TRUE(v1::UserService::NewStub(server.AsAdmin())
                  ->RevokeUser(&admin_context, revoke, &revoked)
                  .ok());
  const auto carol = server.Connect(keys);
  const absl::Status told = GetInfo(carol).status();
  EXPECT_EQ(told.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(told.message()), testing::HasSubstr("ask an admin"));
  EXPECT_TRUE(carol->WaitForStateChange(
      GRPC_CHANNEL_READY, std::chrono::system_clock::now() + std::chrono::seconds(20)));
}

TEST(TlsTest, ConnectionsOfOneUserAreBounded) {
  TlsServerOptions options;
  options.limits.max_connections_per_user = 1;
  TlsServer server(options);
  const ClientKeys keys = server.NewUser("carol");
  const auto first = server.Connect(keys);
  ASSERT_TRUE(GetInfo(first).ok());
  EXPECT_FALSE(GetInfo(server.Connect(keys)).ok());
  EXPECT_TRUE(GetInfo(server.Connect(server.NewUser("dave"))).ok());
}

TEST(TlsTest, ALargeMessageComesThroughWhole) {
  TlsServer server;
  server.sessions().messages = 1;
  server.sessions().message_bytes = std::size_t{3} << 20;
  const auto carol = server.Connect(server.NewUser("carol"));
  grpc::ClientContext context;
  SetDeadline(context);
  const auto watch = v1::SessionService::NewStub(carol)->WatchSession(&context, {});
  v1::Session session;
  ASSERT_TRUE(watch->Read(&session));
  EXPECT_EQ(session.command_line(), std::string(std::size_t{3} << 20, 'x'));
  EXPECT_FALSE(watch->Read(&session));
  EXPECT_TRUE(watch->Finish().ok());
}

}  // namespace
}  // namespace kdbg
