// A tarball from a stranger, member by member: .tar plain or compressed with gzip, bzip2, xz or
// zstd.
//
// Every member is checked before its bytes are handed out. Nothing is written to disk. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct archive;
struct archive_entry;

namespace kdbg::source {

struct ArchiveLimits {
  std::int64_t maximum_bytes = std::int64_t{16} << 30;  // of all members, uncompressed
  std::int64_t maximum_members = 2'000'000;
  std::int64_t maximum_member_bytes = std::int64_t{2} << 30;
  int maximum_depth = 128;  // folders in one name
};

enum class MemberKind { kFile, kExecutable, kSymlink, kHardlink };

struct ArchiveMember {
  MemberKind kind = MemberKind::kFile;
  std::string path;    // relative, clean, as in the archive (its top folder included)
  std::string target;  // of a symlink: as stored; of a hardlink: the path of an earlier member
  std::int64_t size_bytes = 0;
};

class ArchiveReader {
 public:
  // Where compressed bytes come from: fills the buffer, 0 at the end.
  using Source = std::function<absl::StatusOr<std::size_t>(char* buffer, std::size_t size)>;

  // INVALID_ARGUMENT (kNotAnArchive) when the first bytes are no tar in any compression we take.
  static absl::StatusOr<std::unique_ptr<ArchiveReader>> Open(Source source,
                                                             const ArchiveLimits& limits);
  ~ArchiveReader();

  // The next member that belongs in a tree, nullopt at the end. Folders, pax headers and anything
  // below a .git folder are passed over. INVALID_ARGUMENT with kArchiveUnsafeMember (absolute or
  // climbing names, links that leave the tree, members through links, device nodes),
  // kArchiveTooLarge, kArchiveTruncated or kNotAnArchive (damaged).
  absl::StatusOr<std::optional<ArchiveMember>> Next();

  // The current member's bytes, exactly size_bytes of them, in pieces.
  absl::Status ReadData(absl::FunctionRef<absl::Status(std::string_view)> sink);

 private:
  struct Input;
  explicit ArchiveReader(const ArchiveLimits& limits);
  absl::StatusOr<std::optional<ArchiveMember>> Check(archive_entry* entry);
  absl::Status ReadError(std::string_view during) const;

  const ArchiveLimits limits_;
  std::unique_ptr<Input> input_;
  archive* archive_ = nullptr;
  std::set<std::string, std::less<>> links_;  // paths that are symlinks
  std::int64_t members_ = 0;
  std::int64_t bytes_ = 0;
  std::int64_t current_size_ = 0;
};

}  // namespace kdbg::source
