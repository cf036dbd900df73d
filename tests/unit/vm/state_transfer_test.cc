#include "server/vm/state_transfer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <future>
#include <string>

#include "proto/support/file.h"

namespace kdbg::vm {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);
constexpr std::int64_t kLarge = std::int64_t{1} << 30;

class StateTransferTest : public ::testing::Test {
 protected:
  StateTransferTest() {
    std::string pattern = "/tmp/kdbg-state-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    channel_.socket = root_ / "state.sock";
  }
  ~StateTransferTest() override { std::filesystem::remove_all(root_); }

  static UniqueFd Memory() { return UniqueFd(::memfd_create("state", MFD_CLOEXEC)); }
  static std::string Content(const UniqueFd& file) {
    std::string content(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)), '\0');
    EXPECT_EQ(::pread(file.get(), content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    return content;
  }
  UniqueFd Connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, channel_.socket.c_str());
    UniqueFd peer(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(peer.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return peer;
  }

  std::filesystem::path root_;
  StateChannel channel_;
};

TEST_F(StateTransferTest, BringsAStateFromOneFileToAnother) {
  const UniqueFd from = Memory(), to = Memory();
  const std::string state(3'000'001, 's');
  ASSERT_TRUE(WriteAll(from.get(), state).ok());
  auto listener = StateListener::Listen(channel_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto sent =
      std::async(std::launch::async, [&] { return SendState(channel_.socket, from.get(), kLong); });
  EXPECT_TRUE(listener->Receive(to.get(), kLarge, kLong, {}).ok());
  EXPECT_TRUE(sent.get().ok());
  EXPECT_EQ(Content(to), state);
}

TEST_F(StateTransferTest, LetsOnlyTheMachinesUidConnectAndLeavesNoSocket) {
  {
    const auto listener = StateListener::Listen(channel_);
    ASSERT_TRUE(listener.ok());
    struct stat status {};
    ASSERT_EQ(::stat(channel_.socket.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600);
  }
  EXPECT_FALSE(std::filesystem::exists(channel_.socket));
}

TEST_F(StateTransferTest, GivesUpWhenCancelled) {
  const auto listener = StateListener::Listen(channel_);
  const UniqueFd to = Memory();
  std::stop_source cancel;
  auto received = std::async(std::launch::async, [&] {
    return listener->Receive(to.get(), kLarge, kLong, cancel.get_token());
  });
  const UniqueFd peer = Connect();
  cancel.request_stop();
  EXPECT_TRUE(absl::IsCancelled(received.get()));
}

TEST_F(StateTransferTest, LosesPatienceWithAnEmulatorThatDoesNotCome) {
  const auto listener = StateListener::Listen(channel_);
  const UniqueFd to = Memory();
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(listener->Receive(to.get(), kLarge, absl::Milliseconds(20), {})));
}

TEST_F(StateTransferTest, TakesNoMoreThanItMay) {
  const auto listener = StateListener::Listen(channel_);
  const UniqueFd to = Memory();
  const UniqueFd peer = Connect();
  ASSERT_TRUE(WriteAll(peer.get(), std::string(100, 'x')).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(listener->Receive(to.get(), 99, kLong, {})));
}

TEST_F(StateTransferTest, SaysThatNobodyListens) {
  const UniqueFd from = Memory();
  EXPECT_TRUE(absl::IsUnavailable(SendState(channel_.socket, from.get(), kLong)));
}

TEST_F(StateTransferTest, SaysThatTheEmulatorWentAwayInTheMiddle) {
  const UniqueFd from = Memory();
  ASSERT_TRUE(WriteAll(from.get(), std::string(8'000'000, 's')).ok());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, channel_.socket.c_str());
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  auto sent =
      std::async(std::launch::async, [&] { return SendState(channel_.socket, from.get(), kLong); });
  UniqueFd(::accept(listener.get(), nullptr, nullptr)).Reset();
  EXPECT_TRUE(absl::IsAborted(sent.get()));
}

}  // namespace
}  // namespace kdbg::vm
