#include "server/host/terminal_relay.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "proto/support/subprocess.h"
#include "tests/support/fake_clock.h"

namespace kdbg::host {
namespace {

using ::testing::HasSubstr;

// A relay on a thread of its own, with a program or the test itself at the terminal.
class TerminalRelayTest : public ::testing::Test {
 protected:
  ~TerminalRelayTest() override { Stop(); }

  // sh, with the terminal as its controlling one.
  void RunProgram(const std::string& script) {
    Subprocess::Options options;
    const int terminal = pty_.terminal_fd();
    options.argv = {"setsid", "--ctty", "--wait", "sh", "-c", script};
    options.descriptors = {{0, terminal}, {1, terminal}, {2, terminal}};
    program_ = *Subprocess::Start(options);
    pty_.CloseTerminal();
    RunRelay();
  }

  void RunRelay() {
    thread_ = std::jthread([this](std::stop_token stop) {
      const auto end = relay_->Run(pty_, std::move(stop), absl::Minutes(10),
                                   [this](std::string_view bytes) { watched_ += bytes; });
      absl::MutexLock lock(&mutex_);
      end_ = *end;
      ++changes_;
    });
  }

  TerminalRelay::End Stop() {
    if (thread_.joinable()) {
      thread_.request_stop();
      thread_.join();
    }
    absl::MutexLock lock(&mutex_);
    return end_.value_or(TerminalRelay::End::kStopped);
  }

  // Everything that was printed, once it has `text` in it; or all of it when the program has ended.
  std::string ReadUntil(const std::string& text) {
    for (;;) {
      int seen = 0;
      bool over = false;
      {
        absl::MutexLock lock(&mutex_);
        seen = changes_;
        over = end_.has_value();
      }
      for (std::string more; !(more = relay_->TakeOutput(1000)).empty();) output_ += more;
      if (over || output_.find(text) != std::string::npos) return output_;
      AwaitChange(seen);
    }
  }

  void AwaitChange(int seen) {
    absl::MutexLock lock(&mutex_);
    const auto changed = [&] { return changes_ != seen; };
    mutex_.Await(absl::Condition(&changed));
  }

  // A terminal that changes nothing of what passes.
  void MakeRaw() {
    termios settings = {};
    ::tcgetattr(pty_.terminal_fd(), &settings);
    ::cfmakeraw(&settings);
    ::tcsetattr(pty_.terminal_fd(), TCSANOW, &settings);
  }

  FakeClock clock_;
  absl::Mutex mutex_;
  int changes_ = 0;
  std::optional<TerminalRelay::End> end_;
  std::string watched_;  // the relay's thread, until it has ended
  std::string output_;
  Pty pty_ = *Pty::Open({.columns = 120, .rows = 40});
  std::unique_ptr<TerminalRelay> relay_ =
      *TerminalRelay::Create({.columns = 120, .rows = 40}, clock_, [this] {
        absl::MutexLock lock(&mutex_);
        ++changes_;
      });
  std::optional<Subprocess> program_;
  std::jthread thread_;
};

TEST_F(TerminalRelayTest, CarriesBothWaysUntilTheProgramEnds) {
  RunProgram("printf 'name? '; read name; echo \"hello $name\"");
  EXPECT_EQ(ReadUntil("name? "), "name? ");
  EXPECT_TRUE(relay_->Type("ann\r"));
  EXPECT_EQ(ReadUntil("never printed"), "name? ann\r\nhello ann\r\n");
  EXPECT_EQ(Stop(), TerminalRelay::End::kClosed);
  EXPECT_EQ(watched_, output_);
}

TEST_F(TerminalRelayTest, TheProgramSeesTheSizeAndEachNewOne) {
  RunProgram("trap 'stty size; exit' WINCH; stty size; while :; do read line; done");
  EXPECT_THAT(ReadUntil("40 120\r\n"), HasSubstr("40 120\r\n"));
  relay_->Resize({.columns = 100, .rows = 50});
  EXPECT_THAT(ReadUntil("50 100\r\n"), HasSubstr("50 100\r\n"));
}

TEST_F(TerminalRelayTest, CtrlCInterruptsTheProgram) {
  RunProgram("trap 'exit 42' INT; echo ready; while :; do read line; done");
  ReadUntil("ready");
  EXPECT_TRUE(relay_->Type("\x03"));
  ReadUntil("never printed");
  EXPECT_EQ(program_->Wait().code, 42);
}

TEST_F(TerminalRelayTest, AProgramThatNobodyReadsIsHeldBack) {
  MakeRaw();
  RunRelay();
  const std::string line(1000, 'x');
  const UniqueFd terminal(::fcntl(pty_.terminal_fd(), F_DUPFD_CLOEXEC, 0));
  ::fcntl(terminal.get(), F_SETFL, O_NONBLOCK);
  std::size_t written = 0;
  // Without a bound it would take all of it.
  while (written < (std::size_t{8} << 20)) {
    const ssize_t n = ::write(terminal.get(), line.data(), line.size());
    if (n > 0) written += static_cast<std::size_t>(n);
    pollfd room = {.fd = terminal.get(), .events = POLLOUT, .revents = 0};
    if (n < 0 && ::poll(&room, 1, 300) == 0) break;
  }
  EXPECT_LT(written, std::size_t{1} << 20);
  // Read, it goes on.
  std::size_t taken = 0;
  for (int seen = 0; taken < written;) {
    {
      absl::MutexLock lock(&mutex_);
      seen = changes_;
    }
    const std::size_t more = relay_->TakeOutput(1 << 20).size();
    taken += more;
    if (more == 0) AwaitChange(seen);
  }
  EXPECT_EQ(taken, written);
}

TEST_F(TerminalRelayTest, KeysWaitUntilThereIsRoomAndNoneIsLost) {
  MakeRaw();
  RunRelay();
  std::vector<std::string> chunks;
  for (char c = 'a'; c < 'k'; ++c) chunks.push_back(std::string(64 << 10, c));
  std::string read;
  const auto read_all = [&] {
    char buffer[4096];
    while (read.size() < chunks.size() * chunks[0].size()) {
      const ssize_t n = ::read(pty_.terminal_fd(), buffer, sizeof buffer);
      if (n <= 0) return;
      read.append(buffer, static_cast<std::size_t>(n));
    }
  };
  std::string typed;
  std::jthread program;
  for (const std::string& chunk : chunks) {
    for (;;) {
      int seen = 0;
      {
        absl::MutexLock lock(&mutex_);
        seen = changes_;
      }
      if (relay_->Type(chunk)) break;
      // No room: the program begins to read.
      if (!program.joinable()) program = std::jthread(read_all);
      AwaitChange(seen);
    }
    typed += chunk;
  }
  ASSERT_TRUE(program.joinable()) << "more was taken than a terminal holds";
  program.join();
  EXPECT_TRUE(read == typed);
}

TEST_F(TerminalRelayTest, EndsWhenNobodyTypesHoweverTheWindowChanges) {
  clock_.Advance(absl::Minutes(9));
  EXPECT_TRUE(relay_->Type("x"));
  RunRelay();
  clock_.Advance(absl::Minutes(9));
  relay_->Resize({.columns = 80, .rows = 25});
  clock_.Advance(absl::Minutes(1));
  relay_->Resize({.columns = 80, .rows = 24});
  thread_.join();
  EXPECT_EQ(Stop(), TerminalRelay::End::kIdle);
}

TEST_F(TerminalRelayTest, StopsWhenTold) {
  RunProgram("echo ready; exec cat");
  ReadUntil("ready");
  EXPECT_EQ(Stop(), TerminalRelay::End::kStopped);
}

}  // namespace
}  // namespace kdbg::host
