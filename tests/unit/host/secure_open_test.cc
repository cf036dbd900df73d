#include "server/host/secure_open.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "proto/contract/error.h"

namespace kdbg::host {
namespace {

class SecureOpenTest : public ::testing::Test {
 protected:
  SecureOpenTest() {
    std::string name = "/tmp/kdbg-open-XXXXXX";
    root_ = ::mkdtemp(name.data());
    std::filesystem::create_directories(root_ / "out/arch");
    std::ofstream(root_ / "outside") << "secret";
    std::ofstream(root_ / "out/arch/image") << "kernel";
    directory_ = OpenDirectory(root_ / "out").value();
  }
  ~SecureOpenTest() override { std::filesystem::remove_all(root_); }

  absl::Status Open(std::string_view path) { return OpenBeneath(directory_.get(), path).status(); }

  std::filesystem::path root_;
  UniqueFd directory_;
};

TEST_F(SecureOpenTest, OpensAPlainFileForReading) {
  const auto file = OpenBeneath(directory_.get(), "arch/image");
  ASSERT_TRUE(file.ok()) << file.status();
  char text[8] = {};
  EXPECT_EQ(::read(file->get(), text, sizeof text), 6);
  EXPECT_EQ(::fcntl(file->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(SecureOpenTest, AMissingFileIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(Open("vmlinux")));
  EXPECT_TRUE(absl::IsNotFound(Open("")));
}

TEST_F(SecureOpenTest, NothingLeadsOutside) {
  EXPECT_TRUE(HasReason(Open("../outside"), Reason::kOutputUnsafe));
  EXPECT_TRUE(HasReason(Open("/etc/passwd"), Reason::kOutputUnsafe));
  EXPECT_TRUE(HasReason(Open("arch/../../outside"), Reason::kOutputUnsafe));
}

TEST_F(SecureOpenTest, NoLinkIsFollowedNotEvenOneThatStaysInside) {
  std::filesystem::create_symlink("../outside", root_ / "out/a");
  std::filesystem::create_symlink("arch/image", root_ / "out/b");
  std::filesystem::create_directory_symlink("arch", root_ / "out/c");
  for (const char* path : {"a", "b", "c/image"}) {
    EXPECT_TRUE(HasReason(Open(path), Reason::kOutputUnsafe)) << path << " " << Open(path);
  }
}

TEST_F(SecureOpenTest, APipeIsRefusedWithoutWaitingForAWriter) {
  ASSERT_EQ(::mkfifo((root_ / "out/vmlinux").c_str(), 0666), 0);
  const absl::Status status = Open("vmlinux");
  EXPECT_TRUE(HasReason(status, Reason::kOutputUnsafe));
  EXPECT_EQ(GetErrorDetail(status)->metadata.at("path"), "vmlinux");
}

TEST_F(SecureOpenTest, ADirectoryIsRefused) {
  EXPECT_TRUE(HasReason(Open("arch"), Reason::kOutputUnsafe));
}

}  // namespace
}  // namespace kdbg::host
