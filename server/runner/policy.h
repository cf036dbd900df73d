// What the runner allows whoever asks, the daemon included: should that be taken over, it still
// cannot run a command as root, as the daemon, or over a directory that is not the daemon's to
// give. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/host/sandbox.h"

namespace kdbg::runner {

struct Policy {
  std::vector<std::filesystem::path> allowed_roots;
  std::int64_t first_uid = 0;
  std::int64_t uid_count = 0;
  uid_t own_uid = 0;     // of the runner
  uid_t client_uid = 0;  // of the daemon
};

// INVALID_ARGUMENT for what makes no sense, PERMISSION_DENIED for what is not allowed.
absl::Status CheckSandbox(const host::Sandbox& sandbox, const Policy& policy);

// A path as the allowed root it lies below and the rest ("." for the root itself).
struct RootedPath {
  std::filesystem::path root;
  std::string relative;
};
absl::StatusOr<RootedPath> BelowRoot(const std::filesystem::path& path, const Policy& policy);

}  // namespace kdbg::runner
