#include "server/guest/saved_state.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/unique_fd.h"

namespace kdbg::guest {
namespace {

std::string Section(std::string run_state) {
  std::string section("\x0bglobalstate\0\0\0\0\0\0\0\1\0\0\0", 23);
  section += static_cast<char>(run_state.size() + 1);
  run_state.resize(100);
  return section + run_state;
}

TEST(SavedStateTest, FindsTheRunState) {
  EXPECT_EQ(FindRunState("QEVM..." + Section("debug") + "more"), 7u + 24u);
}

TEST(SavedStateTest, IsNotLedAstrayByWhatAGuestHasInItsMemory) {
  const std::string state = "QEVM" + Section("debug") + Section("prelaunch") + "end";
  EXPECT_EQ(FindRunState(state), 4u + 124u + 24u);
}

TEST(SavedStateTest, FindsNothingInWhatIsNoState) {
  EXPECT_FALSE(FindRunState(""));
  EXPECT_FALSE(FindRunState("globalstate"));
  EXPECT_FALSE(FindRunState(Section("debug").substr(0, 60)));
  std::string wrong_length = Section("debug");
  wrong_length[23] = 99;
  EXPECT_FALSE(FindRunState(wrong_length));
}

TEST(SavedStateTest, MarksWhateverItWasAsPaused) {
  for (const char* was : {"debug", "paused", "prelaunch", "guest-panicked"}) {
    const UniqueFd file(::memfd_create("state", MFD_CLOEXEC));
    ASSERT_TRUE(WriteAll(file.get(), "QEVM" + Section(was) + "end").ok());
    ASSERT_TRUE(MarkPaused(file.get()).ok()) << was;
    std::string now(131, '\0');
    ASSERT_EQ(::pread(file.get(), now.data(), now.size(), 0), 131);
    EXPECT_EQ(now, "QEVM" + Section("paused") + "end");
  }
}

TEST(SavedStateTest, RefusesAFileThatIsNoState) {
  const UniqueFd file(::memfd_create("state", MFD_CLOEXEC));
  ASSERT_TRUE(WriteAll(file.get(), "no such thing").ok());
  EXPECT_TRUE(HasReason(MarkPaused(file.get()), Reason::kDataCorrupt));
}

}  // namespace
}  // namespace kdbg::guest
