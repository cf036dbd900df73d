#include "server/runner/options.h"

#include <getopt.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace kdbg::runner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<Options> Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "kdbg-runner");
  std::vector<char*> pointers;
  for (std::string& each : arguments) pointers.push_back(each.data());
  pointers.push_back(nullptr);
  optind = 0;  // getopt starts anew
  return ParseOptions(static_cast<int>(arguments.size()), pointers.data());
}

TEST(OptionsTest, ASupervisorIsToldWhatTheRunnerKnows) {
  Options options;
  options.allowed_roots = {"/var/lib/kdbgd", "/with space"};
  options.first_uid = 700000;
  options.uid_count = 10;
  options.client_uid = 42;
  options.cgroups.memory = "/sys/fs/cgroup/memory";
  const auto parsed = Parse(SupervisorArguments(options, 3));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->supervise_fd, 3);
  EXPECT_THAT(parsed->allowed_roots, ElementsAre("/var/lib/kdbgd", "/with space"));
  EXPECT_EQ(parsed->first_uid, 700000);
  EXPECT_EQ(parsed->uid_count, 10);
  EXPECT_EQ(parsed->client_uid, 42);
  EXPECT_EQ(parsed->cgroups.memory, "/sys/fs/cgroup/memory");
  EXPECT_EQ(parsed->parent_pid, ::getpid());
}

TEST(OptionsTest, WrongFlagsAreNamed) {
  for (const char* wrong : {"--first-uid=-5", "--first-uid=x", "--allow=relative", "--nonsense",
                            "--client-user=nobody-of-that-name", "stray"}) {
    const auto parsed = Parse({"--listen-fd=3", wrong});
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << wrong;
  }
}

TEST(OptionsTest, StartedByHandItSaysWhoStartsIt) {
  ::unsetenv("LISTEN_PID");
  EXPECT_THAT(Parse({}).status().ToString(), HasSubstr("systemd"));
}

TEST(OptionsTest, TakesTheSocketThatSystemdHands) {
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", "1", 1);
  const auto parsed = Parse({"--client-user", "root"});
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->listen_fd, 3);
  EXPECT_EQ(parsed->client_uid, 0);
}

}  // namespace
}  // namespace kdbg::runner
