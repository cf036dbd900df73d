#include "server/session/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kdbg::session {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class MonitorTest : public testing::Test {
 protected:
  MonitorTest() {
    facts_.record.id = "vm-1";
    facts_.record.owner = "alice";
    facts_.record.state = SessionState::kReady;
    facts_.record.request.kernel_build = "b-7";
    facts_.record.command_line = "console=ttyS0 nokaslr";
    facts_.left = absl::Minutes(90) + absl::Seconds(7);
    facts_.console = [this](int lines) {
      asked_lines_ = lines;
      return console_;
    };
  }
  std::string Answer(std::string_view command) { return AnswerMonitor(command, facts_); }

  MonitorFacts facts_;
  std::string console_ = "Linux version 6.1\nlast line";
  int asked_lines_ = 0;
};

TEST_F(MonitorTest, InfoSaysWhatIsDebuggedForHowLongAndWhatItSaidLast) {
  EXPECT_THAT(Answer("info"), AllOf(HasSubstr("vm-1 of alice, READY"), HasSubstr("builds/b-7\n"),
                                    HasSubstr("console=ttyS0 nokaslr"), HasSubstr("1h30m left"),
                                    HasSubstr("console\nLinux version 6.1\nlast line\n")));
  EXPECT_EQ(asked_lines_, 5);
}

TEST_F(MonitorTest, ConsoleShowsAsManyLinesAsAskedFor) {
  EXPECT_EQ(Answer(" console  50 "), "Linux version 6.1\nlast line\n");
  EXPECT_EQ(asked_lines_, 50);
  Answer("console");
  EXPECT_EQ(asked_lines_, 20);
  for (const char* command : {"console 0", "console 201", "console x", "console 5x", "console -1",
                              "console 99999999999"}) {
    EXPECT_THAT(Answer(command), HasSubstr("a number from 1 to 200")) << command;
  }
  console_.clear();
  EXPECT_EQ(Answer("console"), "the console is empty\n");
  facts_.console = nullptr;
  EXPECT_EQ(Answer("console"), "the console is empty\n");
}

TEST_F(MonitorTest, OnlyOneWordAloneAsksForMoreThanAnAnswer) {
  EXPECT_EQ(ParseMonitorRequest(" reset "), MonitorRequest::kReset);
  EXPECT_EQ(ParseMonitorRequest("pause"), MonitorRequest::kPause);
  for (const char* command : {"", "reset halt", "resets", "pause now", "info"}) {
    EXPECT_FALSE(ParseMonitorRequest(command)) << command;
  }
}

TEST_F(MonitorTest, WhatItDoesNotKnowIsAnsweredWithWhatItDoes) {
  EXPECT_THAT(Answer("help"), AllOf(HasSubstr("monitor console"), Not(HasSubstr("not know"))));
  EXPECT_EQ(Answer(""), Answer("help"));
  for (const char* command : {"info registers", "system_reset", "quit", "help me"}) {
    EXPECT_THAT(Answer(command), AllOf(HasSubstr("does not know"), HasSubstr("monitor help")));
  }
}

}  // namespace
}  // namespace kdbg::session
