#include "server/build/root_archive.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/source/archive_reader.h"
#include "server/source/decompressor.h"

namespace kdbg::build {
namespace {

using source::ArchiveMember;
using source::MemberKind;

CpioEntry::Kind KindOf(MemberKind kind) {
  switch (kind) {
    case MemberKind::kFile:
    case MemberKind::kExecutable:
    case MemberKind::kHardlink:
      return CpioEntry::Kind::kFile;
    case MemberKind::kSymlink:
      return CpioEntry::Kind::kSymlink;
    case MemberKind::kFolder:
      return CpioEntry::Kind::kDirectory;
    case MemberKind::kCharacterDevice:
      return CpioEntry::Kind::kCharacterDevice;
    case MemberKind::kBlockDevice:
      break;
  }
  return CpioEntry::Kind::kBlockDevice;
}

}  // namespace

absl::StatusOr<std::vector<CpioEntry>> ReadRootArchive(const UniqueFd& file,
                                                       std::int64_t& bytes_left) {
  const source::ArchiveLimits limits{.maximum_bytes = bytes_left,
                                     .maximum_members = 100'000,
                                     .maximum_member_bytes = bytes_left,
                                     .kind = source::TreeKind::kRoot};
  const auto reader = source::ArchiveReader::Open(source::BytesOf(file), limits);
  std::vector<CpioEntry> entries;
  std::map<std::string, std::size_t, std::less<>> files;  // where the newest of that name is
  while (true) {
    KDBG_ASSIGN_OR_RETURN(std::optional<ArchiveMember> member, reader->Next());
    if (!member) return entries;
    CpioEntry entry{.kind = KindOf(member->kind),
                    .path = member->path,
                    .mode = member->kind == MemberKind::kSymlink ? 0777 : member->mode,
                    .device_major = member->device_major,
                    .device_minor = member->device_minor};
    if (member->kind == MemberKind::kSymlink) entry.content = std::move(member->target);
    if (member->kind == MemberKind::kHardlink) {
      // A copy: in a guest's memory there is little that one file of two names is needed for.
      const CpioEntry& original = entries[files.find(member->target)->second];
      entry.mode = original.mode;
      entry.content = original.content;
    }
    KDBG_RETURN_IF_ERROR(reader->ReadData([&](std::string_view piece) {
      entry.content.append(piece);
      return absl::OkStatus();
    }));
    bytes_left -= static_cast<std::int64_t>(entry.content.size());
    if (bytes_left < 0) {
      return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveTooLarge,
                       fmt::format("overlays and modules together hold more than {} MiB: leave out "
                                   "what the guest does not need",
                                   kMaximumRootBytes >> 20));
    }
    if (entry.kind == CpioEntry::Kind::kFile) files[entry.path] = entries.size();
    entries.push_back(std::move(entry));
  }
}

}  // namespace kdbg::build
