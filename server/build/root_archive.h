// A tar that is laid over the root file system of an initramfs. Stateless.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/build/cpio_writer.h"

namespace kdbg::build {

// All layers of one initramfs together: it is put together in memory, and unpacked in a guest's.
inline constexpr std::int64_t kMaximumRootBytes = std::int64_t{512} << 20;

// Its members in order; whoever they belonged to, they will be root's. Takes what it holds off
// `bytes_left`. INVALID_ARGUMENT as of source::ArchiveReader, for a tar that is none, has names
// that leave the root, or holds more than `bytes_left`.
absl::StatusOr<std::vector<CpioEntry>> ReadRootArchive(const UniqueFd& file,
                                                       std::int64_t& bytes_left);

}  // namespace kdbg::build
