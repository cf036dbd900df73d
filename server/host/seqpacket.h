// Unix SOCK_SEQPACKET sockets by path; a path too long for sockaddr_un is reached through its
// directory. Stateless.
#pragma once

#include <filesystem>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::host {

// Replaces a stale socket. Mode 0600.
absl::StatusOr<UniqueFd> ListenSeqpacket(const std::filesystem::path& path);
absl::StatusOr<UniqueFd> ConnectSeqpacket(const std::filesystem::path& path);

}  // namespace kdbg::host
