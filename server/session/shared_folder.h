// A folder that a guest may read: what a caller packed and uploaded, unpacked beside the guest's
// own files. Stateless.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "absl/status/status.h"
#include "proto/support/unique_fd.h"
#include "server/host/identity.h"

namespace kdbg::session {

struct FolderLimits {
  std::int64_t maximum_bytes = std::int64_t{2} << 30;
  std::int64_t maximum_members = 200'000;
  std::int64_t floor_bytes = 0;  // to be left on the disk
};

// Unpacks `tar` into `folder`, which every user of the guest can read; on this host `reader` alone
// can, because the directory around it, which is made for it, is theirs. Files keep who may execute
// them, and links what they say, since it is the guest that follows them. After an error it may
// hold a part.
//   INVALID_ARGUMENT    as of source::ArchiveReader; kArchiveUnsafeMember for a device, too
//   RESOURCE_EXHAUSTED  kDiskFull
absl::Status UnpackFolder(const UniqueFd& tar, const std::filesystem::path& folder,
                          std::optional<host::Identity> reader, const FolderLimits& limits);

}  // namespace kdbg::session
