#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "server/guest/console_input.h"
#include "server/guest/console_log.h"
#include "server/guest/console_scanner.h"
#include "server/guest/io_watcher.h"

namespace kdbg::guest {
namespace {

class ConsoleTest : public ::testing::Test {
 protected:
  ConsoleTest() : watcher_(IoWatcher::Start().value()) {
    std::string pattern = ::testing::TempDir() + "console-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    file_ = directory_ / "console.log";
    writer_ = UniqueFd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  }
  ~ConsoleTest() override { std::filesystem::remove_all(directory_); }

  void Print(std::string_view text) { ASSERT_TRUE(WriteAll(writer_.get(), text).ok()); }

  std::unique_ptr<IoWatcher> watcher_;
  std::filesystem::path directory_;
  std::filesystem::path file_;
  UniqueFd writer_;
};

TEST_F(ConsoleTest, ReadsFromTheFirstByteAndEndsEmpty) {
  Print("Linux version 6.1\r\n");
  auto log = ConsoleLog::Open(file_, *watcher_).value();
  EXPECT_EQ(log->Read(0, 5).value(), "Linux");
  EXPECT_EQ(log->Read(6, 100).value(), "version 6.1\r\n");
  EXPECT_EQ(log->Read(log->size(), 100).value(), "");
}

TEST_F(ConsoleTest, RefusesOffsetsItDoesNotHold) {
  Print("abc");
  auto log = ConsoleLog::Open(file_, *watcher_).value();
  EXPECT_TRUE(HasReason(log->Read(4, 1).status(), Reason::kOffsetOutOfRange));
  EXPECT_TRUE(HasReason(log->Read(-1, 1).status(), Reason::kOffsetOutOfRange));
}

TEST_F(ConsoleTest, TellsOfGrowth) {
  auto log = ConsoleLog::Open(file_, *watcher_).value();
  absl::Notification grown;
  Subscription subscription = log->OnGrowth([&] {
    if (!grown.HasBeenNotified()) grown.Notify();
  });
  Print("x");
  EXPECT_TRUE(grown.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST_F(ConsoleTest, AFloodOfSingleBytesIsToldNoMoreThanEveryOtherMillisecond) {
  auto log = ConsoleLog::Open(file_, *watcher_).value();
  constexpr int kBytes = 20000;
  std::atomic<int> told = 0;
  absl::Notification all;
  Subscription subscription = log->OnGrowth([&] {
    ++told;
    if (log->size() == kBytes && !all.HasBeenNotified()) all.Notify();
  });
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kBytes; ++i) Print("x");
  ASSERT_TRUE(all.WaitForNotificationWithTimeout(absl::Seconds(10)));
  const auto taken = std::chrono::steady_clock::now() - begin;
  EXPECT_LE(told, taken / std::chrono::milliseconds(2) + 2);
}

TEST_F(ConsoleTest, TellsEverySubscriberOfOneFile) {
  auto first = ConsoleLog::Open(file_, *watcher_).value();
  auto second = ConsoleLog::Open(file_, *watcher_).value();
  absl::Notification grown;
  Subscription subscription = second->OnGrowth([&] {
    if (!grown.HasBeenNotified()) grown.Notify();
  });
  first.reset();
  Print("x");
  EXPECT_TRUE(grown.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST_F(ConsoleTest, FreesItsHeadWithoutMovingOffsets) {
  constexpr std::int64_t kKeep = 131072;
  auto log = ConsoleLog::Open(file_, *watcher_, kKeep).value();
  absl::Mutex mutex;
  std::int64_t oldest = 0;
  Subscription subscription = log->OnGrowth([&] {
    absl::MutexLock lock(&mutex);
    oldest = log->oldest_offset();
  });
  const std::string block(65536, 'a');
  for (int i = 0; i < 8; ++i) Print(block);
  Print("end");
  absl::MutexLock lock(&mutex);
  const auto freed = [&] { return oldest > 0; };
  ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&freed), absl::Seconds(10)));
  EXPECT_EQ(log->size(), 8 * 65536 + 3);
  EXPECT_EQ(log->Read(8 * 65536, 10).value(), "end");
  EXPECT_TRUE(HasReason(log->Read(0, 1).status(), Reason::kOffsetOutOfRange));
  struct stat status {};
  ASSERT_EQ(::stat(file_.c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 8 * 65536);
}

TEST_F(ConsoleTest, CanBeReadAfterTheFileIsRemoved) {
  Print("last words");
  auto log = ConsoleLog::Open(file_, *watcher_).value();
  std::filesystem::remove(file_);
  EXPECT_EQ(log->Read(0, 100).value(), "last words");
}

TEST_F(ConsoleTest, DoesNotFollowASymbolicLink) {
  std::filesystem::create_symlink("/etc/passwd", directory_ / "link");
  EXPECT_FALSE(ConsoleLog::Open(directory_ / "link", *watcher_).ok());
}

TEST_F(ConsoleTest, ShowsTheLastLines) {
  Print("one\r\ntwo\r\nthree\r\n\r\n");
  auto log = ConsoleLog::Open(file_, *watcher_).value();
  EXPECT_EQ(log->LastLines(2), "two\nthree");
  EXPECT_EQ(log->LastLines(9), "one\ntwo\nthree");
  EXPECT_EQ(log->LastLines(0), "");
}

TEST_F(ConsoleTest, PassesInputOnAndNeverStallsTheGuestsOutput) {
  const std::filesystem::path path = directory_ / "console.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  auto input = ConsoleInput::Connect(path, *watcher_).value();
  UniqueFd qemu(::accept(listener.get(), nullptr, nullptr));
  ASSERT_TRUE(input->Write("ls\n").ok());
  char typed[8] = {};
  EXPECT_EQ(::read(qemu.get(), typed, sizeof(typed)), 3);
  EXPECT_STREQ(typed, "ls\n");
  // Far more than a socket buffers: it is taken away behind the back of whoever types.
  EXPECT_TRUE(WriteAll(qemu.get(), std::string(8 << 20, 'x')).ok());
  qemu.Reset();
}

TEST_F(ConsoleTest, SaysWhenTheGuestIsGone) {
  EXPECT_TRUE(HasReason(ConsoleInput::Connect(directory_ / "none.sock", *watcher_).status(),
                        Reason::kWrongState));
}

TEST(ConsoleScannerTest, FindsMarkersCutAnywhere) {
  const std::string text = "Boot took 0.7 seconds\r\nkdbg: userspace is up\r\n# ";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    ConsoleScanner scanner("kdbg: userspace is up");
    scanner.Feed(std::string_view(text).substr(0, cut));
    scanner.Feed(std::string_view(text).substr(cut));
    EXPECT_TRUE(scanner.ready()) << cut;
    EXPECT_FALSE(scanner.panicked());
  }
}

TEST(ConsoleScannerTest, FindsAPanicByteByByte) {
  ConsoleScanner scanner("");
  for (char c : std::string_view("[1.2] Kernel panic - not syncing: VFS")) {
    scanner.Feed(std::string_view(&c, 1));
  }
  EXPECT_TRUE(scanner.panicked());
  EXPECT_FALSE(scanner.ready());
}

}  // namespace
}  // namespace kdbg::guest
