#include "server/vm/libvirt/embedded_root.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "proto/contract/error.h"
#include "proto/support/file.h"

namespace kdbg::vm {
namespace {

TEST(EmbeddedRootTest, IsTheRootParameterOfAnEmbedUri) {
  EXPECT_EQ(EmbeddedRoot("qemu:///embed?root=/a/b"), "/a/b");
  EXPECT_EQ(EmbeddedRoot("qemu:///embed?x=1&root=/a/b&y=2"), "/a/b");
  EXPECT_EQ(EmbeddedRoot("qemu:///embed"), std::nullopt);
  EXPECT_EQ(EmbeddedRoot("qemu:///system"), std::nullopt);
  EXPECT_EQ(EmbeddedRoot("qemu:///system?root=/a"), std::nullopt);
}

TEST(EmbeddedRootTest, IsMadePassableForTheUidsOfGuests) {
  const std::filesystem::path root =
      std::filesystem::path(::testing::TempDir()) / "embedded-root-test";
  std::filesystem::remove_all(root);
  ASSERT_TRUE(PrepareEmbeddedRoot(root).ok());
  struct stat made {};
  ASSERT_EQ(::stat(root.c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777, 0711u);
  EXPECT_THAT(ReadFile(root / "etc/qemu.conf").value(),
              ::testing::HasSubstr("stdio_handler = \"file\""));
  EXPECT_TRUE(PrepareEmbeddedRoot(root).ok());
  std::filesystem::remove_all(root);
}

TEST(EmbeddedRootTest, ForgetsAMachineThatItsDriverDidNotLiveToStart) {
  const std::filesystem::path root =
      std::filesystem::path(::testing::TempDir()) / "embedded-root-forgets";
  std::filesystem::remove_all(root);
  const std::filesystem::path records = root / "run/qemu";
  const std::filesystem::path begun = root / "lib/qemu/domain-1-begun";
  std::filesystem::create_directories(records);
  std::filesystem::create_directories(begun);
  ASSERT_TRUE(WriteFileAtomic(records / "begun.pid", "17").ok());
  ASSERT_TRUE(
      WriteFileAtomic(records / "begun.xml",
                      "<!-- libvirt's -->\n<domstatus state='paused' pid='0'><libDir path='" +
                          begun.string() + "'/><channelTargetDir path='" + root.string() +
                          "'/></domstatus>")
          .ok());
  ASSERT_TRUE(
      WriteFileAtomic(records / "runs.xml", "<domstatus state='running' pid='42'></domstatus>")
          .ok());
  ASSERT_TRUE(WriteFileAtomic(records / "other.xml", "<domain/>").ok());
  ASSERT_TRUE(PrepareEmbeddedRoot(root).ok());
  EXPECT_FALSE(std::filesystem::exists(records / "begun.xml"));
  EXPECT_FALSE(std::filesystem::exists(records / "begun.pid"));
  EXPECT_FALSE(std::filesystem::exists(begun));
  EXPECT_TRUE(std::filesystem::exists(root));
  EXPECT_TRUE(std::filesystem::exists(records / "runs.xml"));
  EXPECT_TRUE(std::filesystem::exists(records / "other.xml"));
  std::filesystem::remove_all(root);
}

TEST(EmbeddedRootTest, IsRefusedWhenSocketsWouldNotFit) {
  EXPECT_TRUE(HasReason(PrepareEmbeddedRoot("/" + std::string(60, 'x')), Reason::kFieldInvalid));
  EXPECT_TRUE(HasReason(PrepareEmbeddedRoot("relative"), Reason::kFieldInvalid));
}

}  // namespace
}  // namespace kdbg::vm
