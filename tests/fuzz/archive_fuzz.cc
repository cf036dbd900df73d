// Tarballs from strangers: whatever the bytes, no member is handed out that could leave the tree.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "server/source/archive_reader.h"

namespace {

using kdbg::source::ArchiveLimits;
using kdbg::source::ArchiveMember;
using kdbg::source::ArchiveReader;

void Require(bool holds) {
  if (!holds) std::abort();
}

void RequireInside(const std::string& path) {
  Require(!path.empty() && path.front() != '/');
  const std::string slashed = "/" + path + "/";
  for (const char* bad : {"/../", "/./", "//", "/.git/"}) {
    Require(slashed.find(bad) == std::string::npos);
  }
  Require(path.find('\0') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ArchiveLimits limits{.maximum_bytes = 1 << 20,
                             .maximum_members = 64,
                             .maximum_member_bytes = 1 << 18,
                             .maximum_depth = 8};
  size_t given = 0;
  const auto reader = ArchiveReader::Open(
      [&](char* buffer, size_t room) -> absl::StatusOr<size_t> {
        const size_t now = std::min(room, size - given);
        std::memcpy(buffer, data + given, now);
        given += now;
        return now;
      },
      limits);
  std::int64_t members = 0;
  while (true) {
    const auto member = reader->Next();
    if (!member.ok() || !member->has_value()) return 0;
    Require(++members <= limits.maximum_members);
    RequireInside((*member)->path);
    std::int64_t bytes = 0;
    const absl::Status read = reader->ReadData([&](std::string_view piece) {
      bytes += static_cast<std::int64_t>(piece.size());
      return absl::OkStatus();
    });
    if (!read.ok()) return 0;
    Require(bytes == (*member)->size_bytes && bytes <= limits.maximum_member_bytes);
  }
}
