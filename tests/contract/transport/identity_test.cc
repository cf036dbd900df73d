// Who a caller is: the relay, gRPC's own socket, limits of connections.
#include <grpcpp/create_channel_posix.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "proto/support/unique_fd.h"
#include "tests/contract/kit/toy_services.h"

namespace kdbg::service {
namespace {

absl::StatusOr<v1::ServerInfo> GetInfo(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  v1::ServerInfo info;
  const grpc::Status status =
      v1::ServerService::NewStub(channel)->GetServerInfo(&context, {}, &info);
  if (!status.ok()) return FromGrpcStatus(status);
  return info;
}

UniqueFd Dial(const std::filesystem::path& socket) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof(address.sun_path) - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    fd.Reset();
  }
  return fd;
}

TEST(IdentityTest, ACallerOfThePublicSocketIsItsUid) {
  ToyServer toy;
  const auto info = GetInfo(ConnectTo(toy.socket()));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->user(), "uid:" + std::to_string(::getuid()));
  EXPECT_EQ(info->role(), "admin");  // the daemon's own uid
}

// Credentials belong to a thread on Linux, and SO_PEERCRED are those of the thread that connects.
TEST(IdentityTest, CallersOfDifferentUidsAreToldApartPerConnection) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to connect as other users";
  ToyServer toy;
  std::filesystem::permissions(toy.directory.path(), std::filesystem::perms(0711));
  for (const auto& [uid, user] : {std::pair(kAlice, "alice"), std::pair(kVera, "vera")}) {
    UniqueFd fd;
    std::thread([&, uid = uid] {
      ::syscall(SYS_setresuid, -1, uid, -1);
      fd = Dial(toy.socket());
    }).join();
    ASSERT_TRUE(fd);
    const auto info = GetInfo(grpc::CreateInsecureChannelFromFd("test", fd.Release()));
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->user(), user);
  }
}

TEST(IdentityTest, AConnectionPastTheRelayIsNobody) {
  ToyServer toy;
  const auto info = GetInfo(ConnectTo(PrivateSocket(toy.directory.path())));
  EXPECT_EQ(info.status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(HasReason(info.status(), Reason::kUnauthenticated));
}

TEST(IdentityTest, GrpcsOwnSocketLiesWhereOnlyTheDaemonReachesIt) {
  ToyServer toy;
  struct stat status = {};
  ASSERT_EQ(::stat(PrivateSocket(toy.directory.path()).parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat(toy.socket().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0666u);
}

TEST(IdentityTest, AUserWithoutARoleIsRefusedWithAReason) {
  ToyServer toy;
  const auto info = GetInfo(toy.As(kMallory));
  EXPECT_EQ(info.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(GetErrorDetail(info.status())->metadata.at("user"), "mallory");
}

TEST(IdentityTest, ACallThatNeverAskedForPermissionCannotSucceed) {
  ToyServer toy;
  toy.server_service.body = [](Call&) { return absl::OkStatus(); };
  EXPECT_EQ(GetInfo(toy.As(kAlice)).status().code(), absl::StatusCode::kInternal);
}

TEST(IdentityTest, ReasonAndMetadataReachTheCaller) {
  ToyServer toy;
  toy.server_service.body = [](Call&) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQueueFull, "wait",
                     {{"queue", "caf\xe9"}}, absl::Seconds(3));
  };
  const absl::Status status = GetInfo(toy.As(kAlice)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const auto detail = GetErrorDetail(status);
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->reason, "QUEUE_FULL");
  EXPECT_EQ(detail->metadata.at("queue"), "caf\xEF\xBF\xBD");
  EXPECT_EQ(detail->retry_delay, absl::Seconds(3));
}

// The end of a refused connection is its being closed: a read sees it.
bool IsClosedByPeer(const UniqueFd& fd) {
  char byte;
  return ::recv(fd.get(), &byte, 1, 0) == 0;
}

TEST(RelayTest, ConnectionsBeyondTheCapOfAUidAreClosedAndPlacesComeBack) {
  RelayLimits limits;
  limits.max_connections_per_uid = 1;
  ToyServer toy({}, limits);
  auto channel = ConnectTo(toy.socket());
  ASSERT_TRUE(GetInfo(channel).ok());
  const UniqueFd second = Dial(toy.socket());
  ASSERT_TRUE(second);
  EXPECT_TRUE(IsClosedByPeer(second));
  channel.reset();
  // When the place is free again is the relay's business: ask until it is.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (GetInfo(ConnectTo(toy.socket())).ok()) return;
  }
  FAIL() << "the place did not come back";
}

TEST(RelayTest, AFileThatNobodyServesIsReplacedAndOneThatIsServedIsNot) {
  ToyServer toy;
  const auto in_use =
      UnixListener::Start({{.path = toy.socket(), .mode = 0666, .group = {}, .inherited_fd = -1}},
                          PrivateSocket(toy.directory.path()), {});
  EXPECT_EQ(in_use.status().code(), absl::StatusCode::kAlreadyExists);
  const std::filesystem::path stale = toy.directory.path() / "stale.sock";
  {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, stale.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }
  const auto replaced =
      UnixListener::Start({{.path = stale, .mode = 0600, .group = {}, .inherited_fd = -1}},
                          PrivateSocket(toy.directory.path()), {});
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_TRUE(GetInfo(ConnectTo(stale)).ok());
}

TEST(RelayTest, APathThatIsTooLongOrAGroupThatIsNotThereIsRefused) {
  const std::filesystem::path long_path = "/tmp/" + std::string(120, 'x');
  EXPECT_EQ(UnixListener::Start(
                {{.path = long_path, .mode = 0666, .group = {}, .inherited_fd = -1}}, "/x", {})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  TestDirectory directory;
  EXPECT_EQ(UnixListener::Start({{.path = directory.path() / "s",
                                  .mode = 0660,
                                  .group = "no-such-group-here",
                                  .inherited_fd = -1}},
                                "/x", {})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(RelayTest, SocketFilesGoWithTheServer) {
  ToyServer toy;
  ASSERT_TRUE(std::filesystem::exists(toy.socket()));
  toy.server->Shutdown(absl::Seconds(1));
  EXPECT_FALSE(std::filesystem::exists(toy.socket()));
  toy.server.reset();
  EXPECT_TRUE(PrivateSocket(toy.directory.path()).empty());
}

TEST(RelayTest, ASecondAddressThatFailsLeavesNoFileOfTheFirst) {
  TestDirectory directory;
  std::vector<UnixAddress> addresses(2);
  addresses[0].path = directory.path() / "first.sock";
  addresses[1].path = directory.path() / "no-such-folder" / "second.sock";
  EXPECT_FALSE(UnixListener::Start(addresses, "/x", {}).ok());
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(RelayTest, WhatAKilledDaemonLeftIsRemoved) {
  TestDirectory directory;
  std::filesystem::create_directories(directory.path() / "grpc-old123");
  std::ofstream(directory.path() / "grpc-old123" / "socket").close();
  std::ofstream(directory.path() / "runner.sock").close();
  ToyServer toy({}, {}, directory.path());
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "grpc-old123"));
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "runner.sock"));
}

}  // namespace
}  // namespace kdbg::service
