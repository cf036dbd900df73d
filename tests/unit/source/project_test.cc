#include "server/source/project.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace kdbg::source {
namespace {

Project Detect(const std::map<std::string, std::string, std::less<>>& files) {
  return DetectProject([&](std::string_view path) -> std::optional<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return std::nullopt;
    return found->second;
  });
}

TEST(ProjectTest, KnowsLinuxAndItsVersion) {
  const Project project = Detect(
      {{"Makefile", "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\nNAME = x\n"},
       {"init/main.c", ""},
       {"kernel/fork.c", ""}});
  EXPECT_EQ(project.name, "linux");
  EXPECT_EQ(project.version, "6.12.0-rc3");
}

TEST(ProjectTest, KnowsBusybox) {
  const std::string makefile = "VERSION = 1\nPATCHLEVEL = 35\nSUBLEVEL = 0\nEXTRAVERSION =\n";
  EXPECT_EQ(Detect({{"Makefile", makefile}, {"include/applets.src.h", ""}}).name, "busybox");
  EXPECT_EQ(Detect({{"Makefile", makefile}, {"Config.in", ""}, {"applets/applets.c", ""}}).version,
            "1.35.0");
}

TEST(ProjectTest, EverythingElseHasNoName) {
  EXPECT_EQ(Detect({}).name, "");
  EXPECT_EQ(Detect({{"Makefile", "all:\n\tcc x.c\n"}, {"init/main.c", ""}}).name, "");
  EXPECT_EQ(Detect({{"Makefile", "VERSION = 2\n"}}).name, "");
}

}  // namespace
}  // namespace kdbg::source
