// The client's half of the runner's protocol, against a runner played by the test.
#include "server/host/runner_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "proto/contract/error.h"
#include "server/host/runner_wire.h"
#include "server/host/seqpacket.h"

namespace kdbg::host {
namespace {

class RunnerClientTest : public ::testing::Test {
 protected:
  RunnerClientTest() {
    std::string name = "/tmp/kdbg-client-XXXXXX";
    // Deeper than a socket's address can say.
    root_ = ::mkdtemp(name.data());
    directory_ = root_ / std::string(60, 'a') / std::string(60, 'b');
    std::filesystem::create_directories(directory_);
    socket_ = directory_ / "runner.sock";
    listening_ = ListenSeqpacket(socket_).value();
  }
  ~RunnerClientTest() override {
    if (runner_.joinable()) runner_.join();
    std::filesystem::remove_all(root_);
  }

  // Takes one request and then does as told with the connection.
  void Play(std::function<void(int connection, const wire::Request&)> part) {
    runner_ = std::thread([this, part = std::move(part)] {
      const UniqueFd connection(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      wire::Request request;
      std::vector<UniqueFd> descriptors;
      if (!wire::Receive(connection.get(), request, &descriptors).ok()) return;
      descriptor_count_ = descriptors.size();
      part(connection.get(), request);
    });
  }

  static void SayStarted(int connection) {
    wire::Reply reply;
    reply.set_started(true);
    EXPECT_TRUE(wire::Send(connection, reply).ok());
  }

  static Sandbox AnySandbox() {
    Sandbox sandbox;
    sandbox.run_as = Identity{.uid = 700001, .gid = 700002};
    sandbox.binds = {{"/a", "/src", Access::kReadOnly}, {"/b", "/build", Access::kWritable}};
    sandbox.argv = {"make"};
    sandbox.environment = {"A=b"};
    sandbox.limits.wall_time = absl::Seconds(5);
    return sandbox;
  }

  std::filesystem::path root_;
  std::filesystem::path directory_;
  std::filesystem::path socket_;
  UniqueFd listening_;
  std::thread runner_;
  std::size_t descriptor_count_ = 0;
};

TEST_F(RunnerClientTest, WhatIsAskedArrivesAndTheAnswerComesBack) {
  Sandbox seen;
  Play([&](int connection, const wire::Request& request) {
    seen = wire::FromWire(request.run());
    SayStarted(connection);
    wire::Reply reply;
    SandboxResult result;
    result.status.code = 2;
    result.cause = EndCause::kOutOfMemory;
    result.cpu_time = absl::Milliseconds(1500);
    *reply.mutable_ended() = wire::ToWire(result);
    EXPECT_TRUE(wire::Send(connection, reply).ok());
  });
  RunnerClient client(socket_);
  const auto run = client.Start(AnySandbox(), -1, -1, -1);
  ASSERT_TRUE(run.ok()) << run.status();
  const SandboxResult result = (*run)->Wait();
  EXPECT_EQ(result.status.code, 2);
  EXPECT_EQ(EndCauseName(result.cause), "out of memory");
  EXPECT_EQ(result.cpu_time, absl::Milliseconds(1500));
  EXPECT_EQ((*run)->Wait().status.code, 2) << "the second answer differs";
  runner_.join();
  EXPECT_EQ(descriptor_count_, 3U);
  EXPECT_EQ(seen.run_as, (Identity{.uid = 700001, .gid = 700002}));
  EXPECT_EQ(seen.binds[1].host, "/b");
  EXPECT_EQ(seen.binds[1].access, Access::kWritable);
  EXPECT_EQ(seen.limits.wall_time, absl::Seconds(5));
}

TEST_F(RunnerClientTest, CancelIsTheEndOfOurSide) {
  Play([](int connection, const wire::Request&) {
    SayStarted(connection);
    pollfd waiting{.fd = connection, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&waiting, 1, 10000), 1);
    wire::Reply reply;
    SandboxResult result;
    result.cause = EndCause::kCancelled;
    *reply.mutable_ended() = wire::ToWire(result);
    EXPECT_TRUE(wire::Send(connection, reply).ok());
  });
  RunnerClient client(socket_);
  const auto run = client.Start(AnySandbox(), -1, -1, -1);
  ASSERT_TRUE(run.ok()) << run.status();
  (*run)->Cancel();
  (*run)->Cancel();
  EXPECT_EQ(EndCauseName((*run)->Wait().cause), "cancelled");
}

TEST_F(RunnerClientTest, ARunnerThatVanishesIsSaidToBeLost) {
  Play([](int connection, const wire::Request&) { SayStarted(connection); });
  RunnerClient client(socket_);
  const auto run = client.Start(AnySandbox(), -1, -1, -1);
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(EndCauseName((*run)->Wait().cause), "runner lost");
}

TEST_F(RunnerClientTest, ARefusalKeepsItsCodeAndReason) {
  Play([](int connection, const wire::Request&) {
    wire::Reply reply;
    reply.mutable_refusal()->set_code(static_cast<int>(absl::StatusCode::kFailedPrecondition));
    reply.mutable_refusal()->set_unavailable(true);
    reply.mutable_refusal()->set_message("no user namespaces");
    EXPECT_TRUE(wire::Send(connection, reply).ok());
  });
  RunnerClient client(socket_);
  const absl::Status status = client.Start(AnySandbox(), -1, -1, -1).status();
  EXPECT_TRUE(HasReason(status, Reason::kSandboxUnavailable)) << status;
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
}

TEST_F(RunnerClientTest, WithoutARunnerNothingRunsAndTheErrorSaysWhere) {
  listening_.Reset();
  RunnerClient client(socket_);
  const absl::Status status = client.Start(AnySandbox(), -1, -1, -1).status();
  EXPECT_TRUE(HasReason(status, Reason::kRunnerUnavailable)) << status;
  EXPECT_THAT(status.ToString(), ::testing::HasSubstr("runner.sock"));
  EXPECT_FALSE(client.Probe().usable);
  EXPECT_THAT(client.Probe().reason, ::testing::HasSubstr("runner.sock"));
}

TEST_F(RunnerClientTest, ARequestTooLongIsRefusedHere) {
  Sandbox sandbox = AnySandbox();
  sandbox.argv.push_back(std::string(wire::kMessageLimit, 'x'));
  RunnerClient client(socket_);
  EXPECT_TRUE(absl::IsInvalidArgument(client.Start(sandbox, -1, -1, -1).status()));
}

}  // namespace
}  // namespace kdbg::host
