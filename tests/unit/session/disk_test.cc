// Sessions whose guest has a disk, and the images that an admin has put there for them.

#include <sys/stat.h>

#include <fstream>

#include "proto/contract/error.h"
#include "server/session/disk_images.h"
#include "server/session/template_pool.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A header of version 3 that names nothing but itself.
std::string Qcow2() {
  std::string header(104, '\0');
  header.replace(0, 8, std::string("QFI\xfb\0\0\0\3", 8));
  return header;
}

class DiskTest : public SessionsTest {
 protected:
  DiskTest() {
    limits_.disk_images = root_ / "images";
    std::filesystem::create_directories(limits_.disk_images);
    Put("debian.img", "content");
    Open();
  }
  void Put(const std::string& name, const std::string& content, mode_t mode = 0644) {
    const std::filesystem::path path = limits_.disk_images / name;
    std::ofstream(path, std::ios::binary) << content;
    ::chmod(path.c_str(), mode);
  }
  absl::Status Check(const std::string& name) const {
    return DiskImages(limits_.disk_images).Check(name);
  }
};

TEST_F(DiskTest, TheMachineHasItAfterAResetAndARestart) {
  request_.disk_image = "debian.img";
  const std::string id = CreateReady();
  const auto has = [&] {
    const std::optional<vm::Disk> disk = hypervisor_.created().back().disk;
    return disk && disk->image == limits_.disk_images / "debian.img" &&
           disk->format == vm::Disk::Format::kRaw;
  };
  EXPECT_TRUE(has());
  Open();
  EXPECT_EQ(sessions_->Get(id)->request.disk_image, "debian.img");
  ASSERT_TRUE(sessions_->Reset(id).ok());
  ASSERT_EQ(AwaitState(id, SessionState::kReady).state, SessionState::kReady);
  EXPECT_TRUE(has());
}

TEST_F(DiskTest, ASessionWhoseImageIsGoneGoesOn) {
  request_.disk_image = "debian.img";
  const std::string id = CreateReady();
  std::filesystem::remove(limits_.disk_images / "debian.img");
  Open();
  EXPECT_EQ(sessions_->Get(id)->state, SessionState::kReady);
  EXPECT_EQ(sessions_->Create("alice", request_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DiskTest, ItIsNeitherClonedNorSaved) {
  guest::GuestSpec guest;
  guest.disk.emplace();
  EXPECT_FALSE(sessions_->templates().KeyOf(guest, guest::StopAtSymbol{}).has_value());
  request_.disk_image = "debian.img";
  const auto saved = sessions_->Save(CreateReady(), "alice");
  EXPECT_TRUE(absl::IsFailedPrecondition(saved.status()));
  EXPECT_THAT(std::string(saved.status().message()), HasSubstr("has a disk"));
}

TEST_F(DiskTest, WhatIsNoNameOfAnImageIsRefused) {
  for (const char* name :
       {"../debian.img", "a,b.img", ".img", "debian", "debian.vmdk", "/etc/a.img"}) {
    EXPECT_EQ(Check(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST_F(DiskTest, OneThatIsNotThereNamesThoseThatAre) {
  Put("arch.qcow2", Qcow2());
  Put("README", "no image");
  const absl::Status missing = Check("fedora.qcow2");
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("there are arch.qcow2, debian.img"));
  EXPECT_THAT(std::string(DiskImages("").Check("debian.img").message()),
              HasSubstr("disk_images of [session]"));
}

TEST_F(DiskTest, AnImageThatNeedsOtherFilesIsRefused) {
  Put("alone.qcow2", Qcow2());
  EXPECT_TRUE(Check("alone.qcow2").ok()) << Check("alone.qcow2");
  std::string backed = Qcow2();
  backed[15] = 104;
  Put("backed.qcow2", backed);
  EXPECT_THAT(std::string(Check("backed.qcow2").message()), HasSubstr("a backing file"));
  std::string outside = Qcow2();
  outside[79] = 1 << 2;
  Put("outside.qcow2", outside);
  EXPECT_THAT(std::string(Check("outside.qcow2").message()), HasSubstr("a data file"));
  Put("short.qcow2", Qcow2().substr(0, 80));
  Put("plain.qcow2", "plain bytes");
  for (const char* name : {"short.qcow2", "plain.qcow2"}) {
    EXPECT_EQ(Check(name).code(), absl::StatusCode::kFailedPrecondition) << name;
  }
}

TEST_F(DiskTest, LinksAndWhatGuestsMayNotReadAreRefused) {
  std::filesystem::create_symlink("debian.img", limits_.disk_images / "link.img");
  EXPECT_EQ(Check("link.img").code(), absl::StatusCode::kNotFound);
  Put("mine.img", "content", 0600);
  EXPECT_EQ(Check("mine.img").code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace kdbg::session
