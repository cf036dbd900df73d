// What modules are set to, from what the configuration says and what this host has.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/app/paths.h"
#include "server/build/builds.h"
#include "server/build/trusted_remotes.h"
#include "server/config/config.h"
#include "server/session/sessions.h"

namespace kdbg::app {

inline constexpr std::int64_t kMib = std::int64_t{1} << 20;

int Processors();

session::SessionLimits LimitsFrom(const config::Session& settings, std::int64_t host_memory_bytes);

build::BuildSettings BuildSettingsFrom(const config::Build& settings, const Paths& paths);

// A limit of 0 is a third of the disk.
std::int64_t BytesOrThird(std::int64_t limit_mib, std::int64_t disk_bytes);

// INVALID_ARGUMENT names the one that is none.
using Remotes = std::vector<build::TrustedRemote>;
absl::StatusOr<Remotes> TrustedRemotesFrom(const config::Build& settings);

}  // namespace kdbg::app
