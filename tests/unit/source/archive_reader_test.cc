#include "server/source/archive_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "tests/support/tarball.h"

namespace kdbg::source {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Content {
  std::map<std::string, std::string> files;  // path to bytes, or to "-> target", "= target"
  std::vector<std::string> executables;
  std::string top;
};

// In small pieces, so that every boundary inside a tar is met.
absl::StatusOr<Content> ReadAll(std::string bytes, ArchiveLimits limits = {},
                                std::size_t piece = 1000) {
  std::size_t at = 0;
  const auto reader = ArchiveReader::Open(
      [&](char* buffer, std::size_t size) -> absl::StatusOr<std::size_t> {
        const std::size_t n = std::min({size, piece, bytes.size() - at});
        std::copy_n(bytes.data() + at, n, buffer);
        at += n;
        return n;
      },
      limits);
  Content content;
  for (;;) {
    KDBG_ASSIGN_OR_RETURN(const std::optional<ArchiveMember> member, reader->Next());
    if (!member) break;
    std::string data;
    KDBG_RETURN_IF_ERROR(reader->ReadData([&](std::string_view part) {
      data += part;
      return absl::OkStatus();
    }));
    if (member->kind == MemberKind::kSymlink) data = "-> " + member->target;
    if (member->kind == MemberKind::kHardlink) data = "= " + member->target;
    if (member->kind == MemberKind::kExecutable) content.executables.push_back(member->path);
    content.files[member->path] = data;
  }
  content.top = reader->top_folder();
  return content;
}

Reason ReasonOf(const absl::Status& status) {
  const auto detail = GetErrorDetail(status);
  return detail ? ReasonFromName(detail->reason).value_or(Reason::kUnspecified)
                : Reason::kUnspecified;
}

TEST(ArchiveReaderTest, ReadsEveryCompression) {
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kBzip2,
                                        Compression::kXz, Compression::kZstd}) {
    SCOPED_TRACE(static_cast<int>(compression));
    const auto content = ReadAll(SmallLinuxTarball("6.1.170", compression));
    ASSERT_TRUE(content.ok()) << content.status();
    EXPECT_EQ(content->files.size(), 7u);
    EXPECT_EQ(content->files.at("linux/init/main.c"), "void start_kernel(void) {}\n");
    EXPECT_EQ(content->files.at("linux/scripts/include"), "-> ../init");
    EXPECT_THAT(content->executables, ElementsAre("linux/scripts/run.sh"));
    EXPECT_EQ(content->top, "linux");
  }
}

TEST(ArchiveReaderTest, KnowsWhenThereIsNoSingleTopFolder) {
  EXPECT_EQ(ReadAll(Tarball().File("a/x", "1").File("b/y", "2").Bytes())->top, "");
  EXPECT_EQ(ReadAll(Tarball().File("Makefile", "1").File("a/x", "2").Bytes())->top, "");
  EXPECT_EQ(ReadAll(Tarball().File("./a/x", "1").File("a//y", "2").Bytes())->top, "a");
}

TEST(ArchiveReaderTest, KeepsNamesBeyondAscii) {
  const std::string utf8 = "t/caf\xc3\xa9.c";
  const std::string latin1 = "t/caf\xe9.c";
  const auto content = ReadAll(Tarball().File(utf8, "1").File(latin1, "2").Bytes());
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(content->files.at(utf8), "1");
  EXPECT_EQ(content->files.at(latin1), "2");
}

TEST(ArchiveReaderTest, HardlinksNameAnEarlierFile) {
  const auto content = ReadAll(Tarball().File("t/a", "1").Hardlink("t/b", "t/a").Bytes());
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(content->files.at("t/b"), "= t/a");
}

TEST(ArchiveReaderTest, PassesOverGitFolders) {
  const auto content = ReadAll(Tarball()
                                   .File("t/.git/config", "[core] fsmonitor = id\n")
                                   .File("t/sub/.GIT/hooks/post-checkout", "#!/bin/sh\n", 0755)
                                   .File("t/.gitignore", "*\n")
                                   .Bytes());
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(content->files.size(), 1u);
  EXPECT_TRUE(content->files.contains("t/.gitignore"));
}

struct Refused {
  std::string_view why;
  std::string bytes;
};

TEST(ArchiveReaderTest, RefusesMembersThatReachOutsideTheTree) {
  const Refused kCases[] = {
      {"climbs", Tarball().File("../etc/passwd", "x").Bytes()},
      {"climbs", Tarball().File("t/../../etc/passwd", "x").Bytes()},
      {"climbs", Tarball().Folder("t/../../etc/").Bytes()},
      {"absolute name", Tarball().File("/etc/passwd", "x").Bytes()},
      {"absolute name", Tarball().Symlink("t/a", "/etc").Bytes()},
      {"out of the tree", Tarball().Symlink("t/a", "../../etc").Bytes()},
      {"out of the tree", Tarball().Symlink("a", "../etc").File("b", "x").Bytes()},
      // Fine below two top folders, but this one goes when it is the only one.
      {"out of the tree", Tarball().File("t/x", "1").Symlink("t/a", "../etc").Bytes()},
      // Two hops: each is inside by its letters.
      {"down and up",
       Tarball().Symlink("t/p/q/up", "../..").Symlink("t/p/esc", "q/up/../../etc").Bytes()},
      {"behind a link", Tarball().Symlink("t/a", "b").File("t/a/passwd", "x").Bytes()},
      {"behind a link", Tarball().Symlink("t/a", "b").Folder("t/a/c/").Bytes()},
      {"hard link", Tarball().Hardlink("t/a", "/etc/passwd").Bytes()},
      {"hard link", Tarball().Hardlink("t/a", "../etc/passwd").Bytes()},
      {"hard link", Tarball().Symlink("t/a", "b").Hardlink("t/c", "t/a").Bytes()},
      {"device node", Tarball().Device("t/null").Bytes()},
      {"device node", Tarball().Fifo("t/vmlinux").Bytes()},
  };
  for (const Refused& refused : kCases) {
    SCOPED_TRACE(refused.why);
    const absl::Status status = ReadAll(refused.bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(status), Reason::kArchiveUnsafeMember) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(refused.why)));
    EXPECT_TRUE(GetErrorDetail(status)->metadata.contains("member"));
  }
}

TEST(ArchiveReaderTest, TakesLinksThatStayInside) {
  EXPECT_TRUE(
      ReadAll(Tarball()
                  .File("t/arch/arm/boot/dts/x.dts", "x")
                  .Symlink("t/scripts/dtc/include-prefixes/arm", "../../../arch/arm/boot/dts")
                  .Symlink("t/self", ".")
                  .Bytes())
          .ok());
  EXPECT_TRUE(
      ReadAll(Tarball().Symlink("tools/x", "../include").File("include/y", "1").Bytes()).ok());
}

TEST(ArchiveReaderTest, AFileMayTakeTheNameOfALinkBeforeIt) {
  const auto content =
      ReadAll(Tarball().Symlink("t/a", "b").File("t/a", "file now").Hardlink("t/c", "t/a").Bytes());
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(content->files.at("t/a"), "file now");
}

TEST(ArchiveReaderTest, AHardlinkCannotNameAFileThatWasReplaced) {
  EXPECT_FALSE(
      ReadAll(Tarball().File("t/a/f", "1").File("t/a", "2").Hardlink("t/b", "t/a/f").Bytes()).ok());
  EXPECT_FALSE(
      ReadAll(Tarball().File("t/a", "1").File("t/a/f", "2").Hardlink("t/b", "t/a").Bytes()).ok());
}

TEST(ArchiveReaderTest, RefusesWhatIsNoTarball) {
  const std::string cases[] = {
      "",
      "#!/bin/sh\necho hello\n",
      std::string(100'000, '\0'),
      std::string(100'000, 'x'),
      "\x1f\x8b" + std::string(1000, 'x'),
      std::string("\xfd"
                  "7zXZ\0",
                  6) +
          std::string(1000, 'x'),
      "PK\x03\x04" + std::string(1000, 'x'),
      Tarball().Bytes(),
      Tarball(Compression::kXz).Folder("t/").Bytes(),
  };
  for (const std::string& bytes : cases) {
    SCOPED_TRACE(bytes.substr(0, 20));
    const absl::Status status = ReadAll(bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(status), Reason::kNotAnArchive) << status;
  }
}

TEST(ArchiveReaderTest, TellsACutOffTarballAtEveryLength) {
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kBzip2,
                                        Compression::kXz, Compression::kZstd}) {
    const std::string whole = SmallLinuxTarball("6.1.170", compression);
    // Behind the second zero block of a plain tar there is only padding.
    const std::size_t end = compression == Compression::kNone
                                ? whole.find_last_not_of('\0') / 512 * 512 + 512
                                : whole.size();
    for (std::size_t size = 600; size < end; size += 37) {
      SCOPED_TRACE(::testing::Message()
                   << "compression " << static_cast<int>(compression) << " cut at " << size);
      const absl::Status status = ReadAll(whole.substr(0, size)).status();
      ASSERT_FALSE(status.ok());
      ASSERT_EQ(ReasonOf(status), Reason::kArchiveTruncated) << status;
    }
  }
}

TEST(ArchiveReaderTest, AFlippedByteIsAnErrorOrChangesContentOnly) {
  const std::string whole = SmallLinuxTarball("6.1.170", Compression::kXz);
  for (std::size_t at = 0; at < whole.size(); at += 11) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const absl::Status status = ReadAll(damaged).status();
    if (status.ok()) continue;
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
}

TEST(ArchiveReaderTest, HoldsItsLimits) {
  const std::string bytes =
      Tarball().File("t/a", std::string(1000, 'a')).File("t/b", std::string(1000, 'b')).Bytes();
  const auto refuse = [&](ArchiveLimits limits) {
    const absl::Status status = ReadAll(bytes, limits).status();
    EXPECT_EQ(ReasonOf(status), Reason::kArchiveTooLarge) << status;
  };
  ArchiveLimits limits;
  limits.maximum_members = 1;
  refuse(limits);
  limits = {};
  limits.maximum_bytes = 1999;
  refuse(limits);
  limits = {};
  limits.maximum_member_bytes = 999;
  refuse(limits);
  limits = {};
  limits.maximum_depth = 1;
  refuse(limits);
  limits = {};
  limits.maximum_members = 2;
  limits.maximum_bytes = 2000;
  EXPECT_TRUE(ReadAll(bytes, limits).ok());
}

TEST(ArchiveReaderTest, AnErrorOfTheSourceComesBackAsItIs) {
  const auto reader = ArchiveReader::Open(
      [](char*, std::size_t) -> absl::StatusOr<std::size_t> {
        return absl::UnavailableError("the disk went away");
      },
      {});
  EXPECT_EQ(reader->Next().status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace kdbg::source
