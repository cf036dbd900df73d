// Resource names: "builds/b-7". A collection and an id of 1 to 128 of [A-Za-z0-9._-], not starting
// with '.' or '-'.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg {

inline constexpr std::string_view kSources = "sources";
inline constexpr std::string_view kUploads = "uploads";
inline constexpr std::string_view kBuilds = "builds";
inline constexpr std::string_view kArtifacts = "artifacts";
inline constexpr std::string_view kSessions = "sessions";
inline constexpr std::string_view kUsers = "users";

// The service as an owner: what it makes of trusted sources is for everybody. No account has a
// colon in its name.
inline constexpr std::string_view kServiceOwner = "kdbgd:trusted";

std::string ResourceName(std::string_view collection, std::string_view id);

// The id in `name`; a bare id is taken too. INVALID_ARGUMENT (FIELD_INVALID) names `field`.
absl::StatusOr<std::string> ParseResourceName(std::string_view collection, std::string_view name,
                                              std::string_view field = "name");

bool IsResourceId(std::string_view id);

}  // namespace kdbg
