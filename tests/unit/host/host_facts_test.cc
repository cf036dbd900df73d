// Memory and disk of the host.
#include <gtest/gtest.h>

#include "server/host/disk_space.h"
#include "server/host/memory.h"

namespace kdbg::host {
namespace {

TEST(HostMemoryTest, ReadsKilobytesAsBytes) {
  const auto memory =
      ParseMemInfo("MemTotal:       16384 kB\nMemFree:          512 kB\nMemAvailable:   8192 kB\n");
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->total_bytes, 16 << 20);
  EXPECT_EQ(memory->available_bytes, 8 << 20);
}

TEST(HostMemoryTest, SaysWhenAFieldIsMissingOrAbsurd) {
  for (const char* text : {"", "MemTotal: 5 kB\n", "MemTotal:\nMemAvailable:\n",
                           "MemTotal: 5 kB\nMemAvailable: 99999999999999999999 kB\n"}) {
    EXPECT_FALSE(ParseMemInfo(text).ok()) << text;
  }
}

TEST(HostMemoryTest, ThisHostHasSome) {
  const auto memory = ReadHostMemory();
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_GT(memory->total_bytes, memory->available_bytes);
  EXPECT_GT(memory->available_bytes, 0);
}

TEST(DiskSpaceTest, TellsFreeFromTotal) {
  const auto space = DiskSpaceOf("/");
  ASSERT_TRUE(space.ok()) << space.status();
  EXPECT_GT(space->total_bytes, space->free_bytes);
  EXPECT_TRUE(absl::IsNotFound(DiskSpaceOf("/no/such/place").status()));
}

}  // namespace
}  // namespace kdbg::host
