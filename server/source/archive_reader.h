// A tarball from a stranger, member by member: .tar plain or compressed with gzip, bzip2, xz or
// zstd.
//
// Every member is checked before its bytes are handed out. Nothing is written to disk. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/source/decompressor.h"

struct archive;
struct archive_entry;

namespace kdbg::source {

// What the members are to become: a tree as git keeps it, or the root file system of a guest, which
// has folders, modes and device nodes of its own, and whose links may lead anywhere, because its
// root is theirs.
enum class TreeKind { kSource, kRoot };

struct ArchiveLimits {
  std::int64_t maximum_bytes = std::int64_t{16} << 30;  // of all members, uncompressed
  std::int64_t maximum_members = 1'000'000;
  std::int64_t maximum_member_bytes = std::int64_t{2} << 30;
  int maximum_depth = 128;  // folders in one name
  TreeKind kind = TreeKind::kSource;
};

// The last three in root file systems only.
enum class MemberKind {
  kFile,
  kExecutable,
  kSymlink,
  kHardlink,
  kFolder,
  kCharacterDevice,
  kBlockDevice
};

struct ArchiveMember {
  MemberKind kind = MemberKind::kFile;
  std::string path;    // relative and clean; the archive's top folder is still in it
  std::string target;  // of a symlink: as stored; of a hardlink: the path of an earlier member
  std::int64_t size_bytes = 0;
  int mode = 0;  // permission bits, as stored
  int device_major = 0;
  int device_minor = 0;
};

class ArchiveReader {
 public:
  static std::unique_ptr<ArchiveReader> Open(ByteSource source, const ArchiveLimits& limits);
  ~ArchiveReader();

  // The next member that belongs in a tree, nullopt at the end. Pax headers are passed over, for a
  // source also folders and anything called .git or below such a folder. An error of the source
  // comes back as it is; else INVALID_ARGUMENT with
  //   kNotAnArchive         no tar in a compression we take, damaged, or without a single file
  //   kArchiveTruncated     the bytes end before the archive does
  //   kArchiveUnsafeMember  absolute or climbing names, members through links, pipes and sockets;
  //                         for a source also links that leave the tree, and device nodes
  //   kArchiveTooLarge      beyond a limit
  absl::StatusOr<std::optional<ArchiveMember>> Next();

  // The current member's bytes, exactly size_bytes of them, in pieces.
  absl::Status ReadData(absl::FunctionRef<absl::Status(std::string_view)> sink);

  // After the end: the one folder that everything is in; empty when there is no such folder.
  const std::string& top_folder() const { return top_; }

 private:
  struct Input;
  ArchiveReader(ByteSource source, const ArchiveLimits& limits);
  absl::StatusOr<std::optional<ArchiveMember>> Check(archive_entry* entry);
  absl::Status Classify(archive_entry* entry, ArchiveMember& member);
  absl::Status CheckLinkTarget(const ArchiveMember& link);
  absl::Status CheckPath(const std::string& path) const;
  absl::Status CheckSize(const ArchiveMember& member);
  absl::Status AtEnd();
  void ForgetReplaced(const std::string& path);
  void NoteTop(const std::string& path);
  absl::Status ReadError() const;

  const ArchiveLimits limits_;
  std::unique_ptr<Input> input_;
  archive* archive_ = nullptr;
  std::set<std::string, std::less<>> links_;  // paths that are symlinks
  std::set<std::string, std::less<>> files_;  // paths a hardlink may name
  // What all members so far have in common, and a link that is only good if that folder stays.
  bool one_top_ = true;
  std::string top_;
  std::string link_to_beside_top_;
  std::int64_t entries_ = 0;
  std::int64_t members_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t current_size_ = 0;
};

}  // namespace kdbg::source
