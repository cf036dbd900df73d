// A build by what a caller calls it: its id, or the name of the caller's newest build of that name.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/build/builds.h"

namespace kdbg::service {

// Says nothing about rights. INVALID_ARGUMENT names `field`, NOT_FOUND the build.
absl::StatusOr<build::BuildRecord> FindBuild(const build::Builds& builds, const std::string& user,
                                             const std::string& name, std::string_view field);

}  // namespace kdbg::service
