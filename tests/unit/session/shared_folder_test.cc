// Sessions whose guest may read a folder, and what becomes of the tar it came in.

#include "server/session/shared_folder.h"

#include <sys/stat.h>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "server/session/template_pool.h"
#include "tests/support/tarball.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

mode_t ModeOf(const fs::path& path) {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0 ? about.st_mode : 0;
}

class SharedFolderTest : public SessionsTest {
 protected:
  std::string Uploaded(const std::string& bytes) {
    const auto upload =
        uploads_->Create("alice", Sha256Hex(bytes), static_cast<std::int64_t>(bytes.size()));
    auto writer = uploads_->OpenWriter(upload->id, 0);
    EXPECT_TRUE(writer->Write(bytes).ok());
    EXPECT_TRUE(writer->Finish()->complete);
    return upload->id;
  }
  fs::path FolderOf(const std::string& id) const { return root_ / "guests" / id / "folder/files"; }
  bool NoGuestHasFiles() const { return fs::is_empty(root_ / "guests"); }

  const fs::path folder_ = root_ / "around/files";

  absl::Status Unpack(Tarball& tar, const FolderLimits& limits = {}) {
    const std::string id = Uploaded(tar.Bytes());
    return UnpackFolder(*uploads_->OpenComplete(id), folder_, std::nullopt, limits);
  }
};

TEST_F(SharedFolderTest, TheMachineHasItAfterAResetAndARestartAndItGoesWithTheSession) {
  Tarball tar;
  request_.folder_upload = Uploaded(tar.File("bin/hello", "content", 0755).Bytes());
  const std::string id = CreateReady();
  EXPECT_EQ(hypervisor_.created().back().folder, FolderOf(id));
  EXPECT_EQ(ReadFile(FolderOf(id) / "bin/hello").value(), "content");
  ASSERT_TRUE(uploads_->Remove(request_.folder_upload).ok());
  Open();
  ASSERT_TRUE(sessions_->Reset(id).ok());
  ASSERT_EQ(AwaitState(id, SessionState::kReady).state, SessionState::kReady);
  EXPECT_EQ(hypervisor_.created().back().folder, FolderOf(id));
  EXPECT_EQ(ReadFile(FolderOf(id) / "bin/hello").value(), "content");
  ASSERT_TRUE(sessions_->Delete(id).ok());
  Await(id, [](const SessionRecord& record) { return record.end_time.has_value(); });
  EXPECT_TRUE(NoGuestHasFiles());
}

TEST_F(SharedFolderTest, OneThatCannotBeUnpackedLeavesNothing) {
  Tarball device;
  Tarball climbing;
  for (Tarball* wrong :
       {&device.File("before", "x").Device("null"), &climbing.File("../outside", "x")}) {
    request_.folder_upload = Uploaded(wrong->Bytes());
    EXPECT_TRUE(HasReason(Create().status(), Reason::kArchiveUnsafeMember)) << Create().status();
  }
  request_.folder_upload = uploads_->Create("alice", Sha256Hex("half"), 4)->id;
  EXPECT_TRUE(HasReason(Create().status(), Reason::kUploadIncomplete));
  EXPECT_TRUE(NoGuestHasFiles());
  EXPECT_TRUE(hypervisor_.created().empty());
}

TEST_F(SharedFolderTest, OneOfASessionThatNeverStartedGoesToo) {
  limits_.quota.user.sessions = 1;
  Open();
  const std::string first = CreateReady();
  Tarball tar;
  request_.folder_upload = Uploaded(tar.File("hello", "content").Bytes());
  EXPECT_EQ(Create().status().code(), absl::StatusCode::kResourceExhausted);
  const auto waiting = sessions_->Create("alice", request_, Sessions::IfFull::kWait);
  ASSERT_TRUE(waiting.ok()) << waiting.status();
  EXPECT_TRUE(fs::exists(FolderOf(waiting->id)));
  ASSERT_TRUE(sessions_->Delete(waiting->id).ok());
  ASSERT_TRUE(sessions_->Delete(first).ok());
  Await(first, [](const SessionRecord& record) { return record.end_time.has_value(); });
  EXPECT_TRUE(NoGuestHasFiles());
}

TEST_F(SharedFolderTest, ItIsNeitherClonedNorSaved) {
  guest::GuestSpec guest;
  guest.folder = "/folder";
  EXPECT_FALSE(sessions_->templates().KeyOf(guest, guest::StopAtSymbol{}).has_value());
  Tarball tar;
  request_.folder_upload = Uploaded(tar.File("hello", "content").Bytes());
  const auto saved = sessions_->Save(CreateReady(), "alice");
  EXPECT_TRUE(absl::IsFailedPrecondition(saved.status()));
  EXPECT_THAT(std::string(saved.status().message()), HasSubstr("has a folder"));
}

TEST_F(SharedFolderTest, DevicesStayWithTheSessionAndAreNeitherClonedNorSaved) {
  guest::GuestSpec guest;
  guest.devices = {"edu"};
  EXPECT_FALSE(sessions_->templates().KeyOf(guest, guest::StopAtSymbol{}).has_value());
  request_.devices = {"edu", "rng"};
  const std::string id = CreateReady();
  Open();
  EXPECT_EQ(sessions_->Get(id)->request.devices, request_.devices);
  ASSERT_TRUE(sessions_->Reset(id).ok());
  ASSERT_EQ(AwaitState(id, SessionState::kReady).state, SessionState::kReady);
  EXPECT_EQ(hypervisor_.created().back().devices, request_.devices);
  EXPECT_THAT(std::string(sessions_->Save(id, "alice").status().message()),
              HasSubstr("has extra devices"));
}

TEST_F(SharedFolderTest, FilesAreReadableByTheGuestAndNothingRunsAsTheirOwnerHere) {
  Tarball tar;
  tar.Folder("empty").File("secret", "s", 0600).File("tool", "t", 04700).Hardlink("again", "tool");
  tar.File("deep/er/file", "d");
  tar.Symlink("away", "/etc/passwd");
  ASSERT_TRUE(Unpack(tar).ok());
  const fs::path& folder = folder_;
  EXPECT_EQ(ModeOf(folder.parent_path()), S_IFDIR | 0700u);
  EXPECT_EQ(ModeOf(folder), S_IFDIR | 0755u);
  EXPECT_EQ(ModeOf(folder / "empty"), S_IFDIR | 0755u);
  EXPECT_EQ(ModeOf(folder / "deep/er"), S_IFDIR | 0755u);
  EXPECT_EQ(ModeOf(folder / "deep"), S_IFDIR | 0755u);
  EXPECT_EQ(ModeOf(folder / "secret"), S_IFREG | 0444u);
  EXPECT_EQ(ModeOf(folder / "tool"), S_IFREG | 0555u);
  EXPECT_EQ(ReadFile(folder / "again").value(), "t");
  EXPECT_EQ(fs::read_symlink(folder / "away"), "/etc/passwd");
}

TEST_F(SharedFolderTest, ALaterMemberReplacesAnEarlierOneAndFollowsNoLink) {
  Tarball tar;
  tar.File("a", "first").Symlink("b", "a").File("b", "second").File("a", "third");
  ASSERT_TRUE(Unpack(tar).ok());
  EXPECT_EQ(ReadFile(folder_ / "a").value(), "third");
  EXPECT_EQ(ReadFile(folder_ / "b").value(), "second");
}

TEST_F(SharedFolderTest, AFolderInThePlaceOfALinkReplacesItAndNothingLeadsOutside) {
  const fs::path outside = root_ / "outside";
  fs::create_directory(outside);
  ASSERT_EQ(::chmod(outside.c_str(), 0700), 0);
  Tarball tar;
  tar.Symlink("link", outside.string()).Folder("link").File("link/file", "content");
  tar.Symlink("a/link", outside.string()).Folder("a/link/deeper").File("a/link/deeper/file", "x");
  const absl::Status unpacked = Unpack(tar);
  EXPECT_TRUE(fs::is_empty(outside)) << unpacked;
  EXPECT_EQ(ModeOf(outside), S_IFDIR | 0700u);
  EXPECT_EQ(ReadFile(folder_ / "link/file").value(), "content");
  EXPECT_TRUE(HasReason(unpacked, Reason::kArchiveUnsafeMember)) << unpacked;  // a/link is in use
}

TEST_F(SharedFolderTest, AFolderThatBecomesAFileIsRefused) {
  Tarball tar;
  tar.File("a/b", "content").File("a", "content");
  EXPECT_TRUE(HasReason(Unpack(tar), Reason::kArchiveUnsafeMember));
}

TEST_F(SharedFolderTest, WhatIsTooMuchIsRefused) {
  Tarball large;
  large.File("a", std::string(4096, 'x'));
  EXPECT_TRUE(HasReason(Unpack(large, {.maximum_bytes = 1024}), Reason::kArchiveTooLarge));
  Tarball many;
  many.File("c", "").File("d", "").File("e", "");
  EXPECT_TRUE(HasReason(Unpack(many, {.maximum_members = 2}), Reason::kArchiveTooLarge));
  Tarball any;
  any.File("f", "content");
  EXPECT_TRUE(HasReason(Unpack(any, {.floor_bytes = INT64_MAX}), Reason::kDiskFull));
}

}  // namespace
}  // namespace kdbg::session
