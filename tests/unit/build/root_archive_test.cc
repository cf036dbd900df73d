#include "server/build/root_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "tests/support/tarball.h"

namespace kdbg::build {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;

UniqueFd FileOf(std::string_view bytes) {
  UniqueFd file(::memfd_create("overlay", MFD_CLOEXEC));
  EXPECT_TRUE(WriteAll(file.get(), bytes).ok());
  return file;
}

absl::StatusOr<std::vector<CpioEntry>> Read(Tarball& tarball,
                                            std::int64_t bytes_left = kMaximumRootBytes) {
  return ReadRootArchive(FileOf(tarball.Bytes()), bytes_left);
}

void ExpectRefused(Tarball& tarball, Reason reason) {
  const auto entries = Read(tarball, 4096);
  ASSERT_FALSE(entries.ok());
  EXPECT_EQ(entries.status().code(), absl::StatusCode::kInvalidArgument) << entries.status();
  EXPECT_TRUE(HasReason(entries.status(), reason)) << entries.status();
}

TEST(RootArchiveTest, KeepsFoldersModesLinksAndDevices) {
  Tarball tarball(Compression::kGzip);
  tarball.Folder("etc").File("etc/motd", "hello", 0640).File("bin/tool", "#!", 04755);
  tarball.Symlink("bin/also", "/bin/tool").Device("dev/thing").Hardlink("bin/same", "bin/tool");
  const auto entries = Read(tarball);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_THAT(
      *entries,
      ElementsAre(Field(&CpioEntry::path, "etc"), Field(&CpioEntry::path, "etc/motd"),
                  Field(&CpioEntry::path, "bin/tool"), Field(&CpioEntry::path, "bin/also"),
                  Field(&CpioEntry::path, "dev/thing"), Field(&CpioEntry::path, "bin/same")));
  EXPECT_EQ((*entries)[0].kind, CpioEntry::Kind::kDirectory);
  EXPECT_EQ((*entries)[1].mode, 0640);
  EXPECT_EQ((*entries)[2].mode, 04755);
  EXPECT_EQ((*entries)[3].kind, CpioEntry::Kind::kSymlink);
  EXPECT_EQ((*entries)[3].content, "/bin/tool");
  EXPECT_NE((*entries)[4].kind, CpioEntry::Kind::kFile);
  EXPECT_EQ((*entries)[5].content, "#!");
  EXPECT_EQ((*entries)[5].mode, 04755);
}

TEST(RootArchiveTest, RefusesWhatLeavesTheRoot) {
  Tarball climbing;
  ExpectRefused(climbing.File("../etc/passwd", "x"), Reason::kArchiveUnsafeMember);
  Tarball absolute;
  ExpectRefused(absolute.File("/etc/passwd", "x"), Reason::kArchiveUnsafeMember);
  Tarball behind;
  ExpectRefused(behind.Symlink("etc", "/tmp").File("etc/passwd", "x"),
                Reason::kArchiveUnsafeMember);
  Tarball pipe;
  ExpectRefused(pipe.Fifo("run/pipe"), Reason::kArchiveUnsafeMember);
}

TEST(RootArchiveTest, IsBoundedCopiesOfHardLinksIncluded) {
  Tarball large;
  ExpectRefused(large.File("a", std::string(5000, 'a')), Reason::kArchiveTooLarge);
  Tarball copies;
  copies.File("a", std::string(1500, 'a')).Hardlink("b", "a");
  ExpectRefused(copies.Hardlink("c", "a"), Reason::kArchiveTooLarge);
}

TEST(RootArchiveTest, TakesWhatItHoldsOffTheBudget) {
  Tarball tarball;
  std::int64_t bytes_left = 1000;
  ASSERT_TRUE(
      ReadRootArchive(FileOf(tarball.File("a", std::string(400, 'a')).Bytes()), bytes_left).ok());
  EXPECT_EQ(bytes_left, 600);
}

TEST(RootArchiveTest, SomethingThatIsNoTarIsSaidToBeNone) {
  std::int64_t bytes_left = 1000;
  const auto entries = ReadRootArchive(FileOf("#!/bin/sh\n"), bytes_left);
  EXPECT_TRUE(HasReason(entries.status(), Reason::kNotAnArchive)) << entries.status();
}

}  // namespace
}  // namespace kdbg::build
