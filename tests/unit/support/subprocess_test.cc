#include "proto/support/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "proto/support/unique_fd.h"

namespace kdbg {
namespace {

Subprocess::Options Shell(const std::string& script) {
  Subprocess::Options options;
  options.argv = {"/bin/sh", "-c", script};
  return options;
}

TEST(RunCommandTest, FeedsInputAndKeepsOutputAndErrorApart) {
  const std::string input(300'000, 'x');
  const auto result = RunCommand(Shell("wc -c; echo oops >&2; exit 3"), input);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output, "300000\n");
  EXPECT_EQ(result->error, "oops\n");
  EXPECT_EQ(result->status.code, 3);
}

TEST(RunCommandTest, KeepsNoMoreOutputThanAskedFor) {
  const auto result =
      RunCommand(Shell("head -c 100000 /dev/zero"), "", std::chrono::minutes(1), 10);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output.size(), 10u);
  EXPECT_TRUE(result->status.ok());
}

TEST(RunCommandTest, ADescriptorTheCallerConnectedIsLeftToTheCaller) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  Subprocess::Options options = Shell("echo mine; echo yours >&2");
  options.descriptors = {{1, writer.get()}};
  const auto result = RunCommand(options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output, "");
  EXPECT_EQ(result->error, "yours\n");
  char text[5] = {};
  EXPECT_EQ(::read(reader.get(), text, sizeof text), 5);
  EXPECT_EQ(std::string(text, 5), "mine\n");
}

TEST(RunCommandTest, AStopKillsTheWholeGroup) {
  std::stop_source stop;
  // The grandchild holds the pipe: only its death lets the read end.
  std::jthread stopper([&] { stop.request_stop(); });
  const auto result = RunCommand(Shell("sleep 1000 & wait"), "", std::chrono::minutes(5),
                                 std::size_t{1} << 20, stop.get_token());
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
}

TEST(RunCommandTest, AStopThatCameBeforeTheStartCounts) {
  std::stop_source stop;
  stop.request_stop();
  const auto result = RunCommand(Shell("sleep 1000"), "", std::chrono::minutes(5),
                                 std::size_t{1} << 20, stop.get_token());
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
}

TEST(RunCommandTest, AChildThatClosedItsPipesIsStillStopped) {
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  const auto result = RunCommand(Shell("exec >&- 2>&- <&-; sleep 1000"), "",
                                 std::chrono::minutes(5), std::size_t{1} << 20, stop.get_token());
  EXPECT_TRUE(absl::IsCancelled(result.status())) << result.status();
}

TEST(RunCommandTest, TooLongIsSaid) {
  const auto result = RunCommand(Shell("sleep 1000"), "", std::chrono::milliseconds(50));
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
}

}  // namespace
}  // namespace kdbg
