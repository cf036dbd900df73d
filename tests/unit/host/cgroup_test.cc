#include "server/host/cgroup.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace kdbg::host {
namespace {

constexpr char kVersion1[] =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n";

constexpr char kVersion2[] =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(CgroupPlacesTest, FindsEachHierarchyOfVersion1) {
  const CgroupPlaces places = ParseCgroupPlaces(
      kVersion1, "9:name=systemd:/\n8:pids:/\n4:memory:/jobs/17\n2:cpu,cpuacct:/\n");
  EXPECT_FALSE(places.unified);
  EXPECT_EQ(places.memory, "/sys/fs/cgroup/memory/jobs/17");
  EXPECT_EQ(places.pids, "/sys/fs/cgroup/pids");
  EXPECT_EQ(places.cpu, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(places.cpuacct, "/sys/fs/cgroup/cpu,cpuacct");
}

TEST(CgroupPlacesTest, FindsOurGroupOfVersion2) {
  const CgroupPlaces places =
      ParseCgroupPlaces(kVersion2, "0::/system.slice/kdbg-runner.service\n");
  EXPECT_EQ(places.unified, "/sys/fs/cgroup/system.slice/kdbg-runner.service");
  EXPECT_EQ(places.unified_mount, "/sys/fs/cgroup");
  EXPECT_FALSE(places.memory);
}

TEST(CgroupPlacesTest, SeesThroughAPartialMount) {
  const CgroupPlaces places = ParseCgroupPlaces(
      "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
      "4:memory:/docker/abc/inner\n");
  EXPECT_EQ(places.memory, "/sys/fs/cgroup/memory/inner");
}

TEST(CgroupPlacesTest, MakesNothingOfNonsense) {
  for (const char* text : {"", "\n\n", ":::", "a b c", "1 2 3 4 5 6 -", "1 2 3 4 5 6 - cgroup x"}) {
    const CgroupPlaces places = ParseCgroupPlaces(text, text);
    EXPECT_FALSE(places.unified || places.memory || places.pids) << text;
  }
}

TEST(CgroupHomeTest, TravelsAsText) {
  const CgroupHome home{.unified = {}, .memory = "/m", .pids = "/p", .cpu = "/c", .cpuacct = {}};
  const CgroupHome back = CgroupHome::FromText(home.ToText());
  EXPECT_EQ(back.memory, "/m");
  EXPECT_EQ(back.pids, "/p");
  EXPECT_EQ(back.cpu, "/c");
  EXPECT_TRUE(back.unified.empty() && back.cpuacct.empty());
  EXPECT_EQ(back.CpuMechanism(), "cgroup v1");
  EXPECT_EQ(CgroupHome::FromText("").CpuMechanism(), "nice");
  EXPECT_EQ(back.MemoryMechanism(), "cgroup v1");
  EXPECT_EQ(CgroupHome::FromText("").MemoryMechanism(), "rlimit");
}

TEST(CgroupTest, WithoutAHomeItIsAnEmptyShell) {
  const auto group = Cgroup::Create({}, "kdbg-run-0", {});
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_TRUE((*group)->ProcsFiles().empty());
  EXPECT_FALSE((*group)->OutOfMemory());
  EXPECT_FALSE((*group)->TooManyProcesses());
  EXPECT_FALSE((*group)->must_look());
  EXPECT_FALSE((*group)->PeakMemory());
}

TEST(CgroupTest, WhereCpuAndCpuacctAreOneThereIsOneGroup) {
  std::string directory = ::testing::TempDir() + "kdbg-cgroup-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  const CgroupHome home{
      .unified = {}, .memory = {}, .pids = {}, .cpu = directory, .cpuacct = directory};
  {
    const auto group = Cgroup::Create(home, "kdbg-run-0", {});
    ASSERT_TRUE(group.ok()) << group.status();
    EXPECT_EQ((*group)->ProcsFiles().size(), 1u);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory));
  std::filesystem::remove(directory);
}

TEST(CgroupTest, AHomeThatIsGoneIsAnErrorAndNotALimitLess) {
  EXPECT_FALSE(
      Cgroup::Create({.unified = {}, .memory = "/nowhere", .pids = {}, .cpu = {}, .cpuacct = {}},
                     "kdbg-run-0", {})
          .ok());
}

}  // namespace
}  // namespace kdbg::host
