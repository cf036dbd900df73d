#include "server/observe/log.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace kdbg::observe {
namespace {

TEST(LogTest, StderrIsTheJournalOnlyWhereSystemdSaysThatVeryFile) {
  struct stat status = {};
  ASSERT_EQ(::fstat(STDERR_FILENO, &status), 0);
  ::unsetenv("JOURNAL_STREAM");
  EXPECT_FALSE(StderrIsTheJournal());
  ::setenv("JOURNAL_STREAM", "8:12345678901", 1);  // of the terminal's parent
  EXPECT_FALSE(StderrIsTheJournal());
  ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", status.st_dev, status.st_ino).c_str(), 1);
  EXPECT_TRUE(StderrIsTheJournal());
  ::unsetenv("JOURNAL_STREAM");
}

}  // namespace
}  // namespace kdbg::observe
