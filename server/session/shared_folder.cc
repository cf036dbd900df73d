#include "server/session/shared_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/host/disk_space.h"
#include "server/source/archive_reader.h"
#include "server/source/decompressor.h"

namespace kdbg::session {
namespace {

namespace fs = std::filesystem;
using source::ArchiveMember;
using source::MemberKind;

constexpr int kFolderMode = 0755;

// A folder, and nothing else: what is there under that name is not followed but replaced, as a tar
// means it. Whatever the umask is.
absl::Status MakeFolder(const fs::path& path) {
  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0) {
    if (S_ISDIR(there.st_mode)) return absl::OkStatus();
    if (::unlink(path.c_str()) != 0) return DiskError(errno, "replace", path);
  }
  if (::mkdir(path.c_str(), kFolderMode) != 0 || ::chmod(path.c_str(), kFolderMode) != 0) {
    return DiskError(errno, "make", path);
  }
  return absl::OkStatus();
}

// Each of them, those too that the tar does not name.
absl::Status MakeFolders(fs::path folder, const fs::path& relative) {
  for (const fs::path& name : relative) {
    folder /= name;
    KDBG_RETURN_IF_ERROR(MakeFolder(folder));
  }
  return absl::OkStatus();
}

absl::Status Remove(const ArchiveMember& member, const fs::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR) return DiskError(errno, "replace", path);
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveUnsafeMember,
                   fmt::format("{} is a folder and then something else: pack it anew", member.path),
                   {{"member", member.path}});
}

absl::Status WriteFile(source::ArchiveReader& reader, const fs::path& path, int mode) {
  const UniqueFd file(
      ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return DiskError(errno, "make", path);
  KDBG_RETURN_IF_ERROR(reader.ReadData(
      [&](std::string_view piece) { return WithDiskReason(WriteAll(file.get(), piece), path); }));
  // To the guest's users its owner is a stranger; and nothing of it is to run as its owner here.
  if (::fchmod(file.get(), (mode & 0111) != 0 ? 0555 : 0444) != 0)
    return DiskError(errno, "make", path);
  return absl::OkStatus();
}

// The reader lets no member through that lies beyond a link or above the folder, and nobody else
// writes there.
absl::Status Unpack(source::ArchiveReader& reader, const ArchiveMember& member,
                    const fs::path& folder) {
  if (member.kind == MemberKind::kFolder) return MakeFolders(folder, member.path);
  const fs::path path = folder / member.path;
  KDBG_RETURN_IF_ERROR(MakeFolders(folder, fs::path(member.path).parent_path()));
  KDBG_RETURN_IF_ERROR(Remove(member, path));
  switch (member.kind) {
    case MemberKind::kSymlink:
      return ::symlink(member.target.c_str(), path.c_str()) == 0 ? absl::OkStatus()
                                                                 : DiskError(errno, "make", path);
    case MemberKind::kHardlink:
      return ::link((folder / member.target).c_str(), path.c_str()) == 0
                 ? absl::OkStatus()
                 : DiskError(errno, "make", path);
    case MemberKind::kCharacterDevice:
    case MemberKind::kBlockDevice:
      return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveUnsafeMember,
                       fmt::format("{} is a device, which a folder for a guest cannot hold: leave "
                                   "it out",
                                   member.path),
                       {{"member", member.path}});
    default:
      return WriteFile(reader, path, member.mode);
  }
}

}  // namespace

absl::Status UnpackFolder(const UniqueFd& tar, const fs::path& folder,
                          std::optional<host::Identity> reader, const FolderLimits& limits) {
  const fs::path around = folder.parent_path();
  KDBG_RETURN_IF_ERROR(MakeDirectories(around, 0700));
  KDBG_RETURN_IF_ERROR(MakeDirectories(folder, kFolderMode));
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(folder));
  const std::int64_t room = std::max<std::int64_t>(disk.free_bytes - limits.floor_bytes, 0);
  const std::int64_t bytes = std::min(limits.maximum_bytes, room);
  const auto archive =
      source::ArchiveReader::Open(source::BytesOf(tar), {.maximum_bytes = bytes,
                                                         .maximum_members = limits.maximum_members,
                                                         .maximum_member_bytes = bytes,
                                                         .kind = source::TreeKind::kRoot});
  for (;;) {
    const auto member = archive->Next();
    if (HasReason(member.status(), Reason::kArchiveTooLarge) && room < limits.maximum_bytes) {
      return DiskError(ENOSPC, "unpack", folder);
    }
    KDBG_RETURN_IF_ERROR(member.status());
    if (!*member) break;
    KDBG_RETURN_IF_ERROR(Unpack(*archive, **member, folder));
  }
  if (reader && ::chown(around.c_str(), reader->uid, reader->gid) != 0) {
    return DiskError(errno, "give away", around);
  }
  return absl::OkStatus();
}

}  // namespace kdbg::session
