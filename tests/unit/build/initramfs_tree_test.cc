#include "server/build/initramfs_tree.h"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <map>
#include <string>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

std::string Pack(const std::vector<CpioEntry>& entries,
                 CpioCompression compression = CpioCompression::kNone) {
  std::string bytes;
  auto writer = CpioWriter::Open(
      [&](std::string_view piece) {
        bytes.append(piece);
        return absl::OkStatus();
      },
      compression);
  EXPECT_TRUE(writer.ok());
  for (const CpioEntry& entry : entries) EXPECT_TRUE((*writer)->Add(entry).ok());
  EXPECT_TRUE((*writer)->Finish().ok());
  return bytes;
}

struct Unpacked {
  mode_t type;
  mode_t mode;
  la_int64_t uid;
  time_t mtime;
  std::string target;
  dev_t device;
};

std::map<std::string, Unpacked> Unpack(const std::string& bytes) {
  std::map<std::string, Unpacked> tree;
  archive* reader = archive_read_new();
  archive_read_support_format_cpio(reader);
  archive_read_support_filter_all(reader);
  EXPECT_EQ(archive_read_open_memory(reader, bytes.data(), bytes.size()), ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    const char* target = archive_entry_symlink(entry);
    tree[archive_entry_pathname(entry)] = {
        archive_entry_filetype(entry), archive_entry_perm(entry),       archive_entry_uid(entry),
        archive_entry_mtime(entry),    target == nullptr ? "" : target, archive_entry_rdev(entry)};
  }
  archive_read_free(reader);
  return tree;
}

std::vector<CpioEntry> Tree(std::string init = "") {
  auto tree = InitramfsTree({.busybox = "the program",
                             .links = "/bin/sh\n/usr/bin/awk\n/sbin/mdev\n/bin/[\n",
                             .init = std::move(init)});
  EXPECT_TRUE(tree.ok()) << tree.status();
  return *tree;
}

TEST(InitramfsTreeTest, HasWhatTheKernelAndTheShellNeed) {
  const auto tree = Unpack(Pack(Tree()));
  EXPECT_EQ(tree.at("init").mode, 0755u);
  EXPECT_EQ(tree.at("bin/sh").type, static_cast<mode_t>(AE_IFLNK));
  EXPECT_EQ(tree.at("bin/sh").target, "/bin/busybox");
  EXPECT_EQ(tree.at("usr/bin/awk").target, "/bin/busybox");
  const Unpacked& console = tree.at("dev/console");
  EXPECT_EQ(console.type, static_cast<mode_t>(AE_IFCHR));
  EXPECT_EQ(console.device, makedev(5, 1));
  for (const char* folder : {"proc", "sys", "tmp", "dev", "etc"}) {
    EXPECT_EQ(tree.at(folder).type, static_cast<mode_t>(AE_IFDIR)) << folder;
  }
  for (const auto& [path, entry] : tree) {
    EXPECT_EQ(entry.uid, 0) << path;
    EXPECT_EQ(entry.mtime, 0) << path;
  }
}

TEST(InitramfsTreeTest, FoldersComeBeforeWhatIsInThem) {
  const auto entries = Tree();
  std::map<std::string, int> order;
  for (std::size_t i = 0; i < entries.size(); ++i) order[entries[i].path] = static_cast<int>(i);
  for (const auto& [path, position] : order) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) continue;
    ASSERT_TRUE(order.contains(path.substr(0, slash))) << path;
    EXPECT_LT(order[path.substr(0, slash)], position) << path;
  }
}

TEST(InitramfsTreeTest, PackedTwiceItIsTheSameBytes) { EXPECT_EQ(Pack(Tree()), Pack(Tree())); }

TEST(InitramfsTreeTest, TheCallersInitReplacesOurs) {
  for (const CpioEntry& entry : Tree("#!/bin/sh\nexec sh\n")) {
    if (entry.path == "init") {
      EXPECT_EQ(entry.content, "#!/bin/sh\nexec sh\n");
    }
  }
}

TEST(InitramfsTreeTest, OurInitAnnouncesItselfBeforeTheShell) {
  const std::string init(InitScript());
  EXPECT_THAT(init, HasSubstr("Boot took"));
  const std::size_t marker = init.find("echo \"" + std::string(kReadyMarker) + "\"");
  ASSERT_NE(marker, std::string::npos);
  EXPECT_LT(init.find("Boot took"), marker);
  EXPECT_LT(marker, init.find("setuidgid user sh"));
}

using Layer = std::vector<CpioEntry>;

absl::StatusOr<std::vector<CpioEntry>> TreeWith(std::vector<Layer> layers, std::string init = "") {
  return InitramfsTree({.busybox = "the program",
                        .links = "/bin/sh\n",
                        .init = std::move(init),
                        .layers = std::move(layers)});
}

const CpioEntry& At(const std::vector<CpioEntry>& tree, std::string_view path) {
  static const CpioEntry kNone;
  for (const CpioEntry& entry : tree) {
    if (entry.path == path) return entry;
  }
  ADD_FAILURE() << path << " is not there";
  return kNone;
}

TEST(InitramfsTreeTest, ALaterLayerReplacesAnEarlierOneAndMissingFoldersAreMade) {
  const auto tree = TreeWith(
      {{{.path = "opt/tools/x", .content = "first"}, {.path = "etc/passwd", .content = "mine"}},
       {{.path = "opt/tools/x", .content = "second"}}});
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(At(*tree, "opt/tools/x").content, "second");
  EXPECT_EQ(At(*tree, "opt/tools").kind, CpioEntry::Kind::kDirectory);
  EXPECT_EQ(At(*tree, "etc/passwd").content, "mine");
  EXPECT_EQ(At(*tree, "bin/busybox").content, "the program");
}

TEST(InitramfsTreeTest, AFolderOfALayerKeepsWhatIsInItAndGetsItsMode) {
  const auto tree =
      TreeWith({{{.kind = CpioEntry::Kind::kDirectory, .path = "etc", .mode = 0700}}});
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(At(*tree, "etc").mode, 0700);
  EXPECT_FALSE(At(*tree, "etc/passwd").content.empty());
}

TEST(InitramfsTreeTest, ALayerCannotPutALinkInThePlaceOfAFolderOrAFileBehindALink) {
  const CpioEntry link{.kind = CpioEntry::Kind::kSymlink, .path = "bin", .content = "usr/bin"};
  const auto replaced = TreeWith({{link}});
  EXPECT_TRUE(HasReason(replaced.status(), Reason::kArchiveUnsafeMember)) << replaced.status();
  const CpioEntry other{.kind = CpioEntry::Kind::kSymlink, .path = "lib64", .content = "/lib"};
  const auto behind = TreeWith({{other}, {{.path = "lib64/libc.so", .content = "x"}}});
  EXPECT_TRUE(HasReason(behind.status(), Reason::kArchiveUnsafeMember)) << behind.status();
}

TEST(InitramfsTreeTest, TheCallersInitWinsOverThatOfALayer) {
  const std::vector<Layer> layers = {{{.path = "init", .content = "of the layer"}}};
  EXPECT_EQ(At(*TreeWith(layers), "init").content, "of the layer");
  EXPECT_EQ(At(*TreeWith(layers, "#!mine"), "init").content, "#!mine");
}

TEST(InitramfsTreeTest, PackedItIsTheSameBytesEachTimeAndTheSameTree) {
  const std::string plain = Pack(Tree());
  for (CpioCompression compression : {CpioCompression::kGzip, CpioCompression::kZstd}) {
    SCOPED_TRACE(NameOf(compression));
    const std::string packed = Pack(Tree(), compression);
    EXPECT_LT(packed.size(), plain.size());
    EXPECT_EQ(packed, Pack(Tree(), compression));
    EXPECT_EQ(Unpack(packed).size(), Unpack(plain).size());
  }
  // The time in gzip's header, which would make each run another.
  EXPECT_EQ(Pack(Tree(), CpioCompression::kGzip).substr(4, 4), std::string(4, '\0'));
}

TEST(InitramfsTreeTest, RefusesLinksThatAreNoPrograms) {
  for (const char* bad : {"bin/sh", "/../etc/passwd", "/bin/../../x", "/bin/a b", "/", "//x",
                          "/bin/", "/bin/./x", "/b\nin\t"}) {
    EXPECT_EQ(InitramfsTree({.busybox = "b", .links = bad, .init = ""}).status().code(),
              absl::StatusCode::kFailedPrecondition)
        << bad;
  }
}

}  // namespace
}  // namespace kdbg::build
