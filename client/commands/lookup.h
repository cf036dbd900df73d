// What a user may write for a resource: an id, a full name, a build's display name, a build for its
// artifact.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

absl::StatusOr<std::string> SessionName(const std::string& text);
absl::StatusOr<v1::Build> FindBuild(Context& context, const std::string& text);
absl::StatusOr<v1::Session> FindSession(Context& context, const std::string& text);
// An artifact's id, or the id or name of a build that made one.
absl::StatusOr<v1::Artifact> FindArtifact(Context& context, const std::string& text);

// X86_64 for "x86_64"; INVALID_ARGUMENT lists the names. "" is unspecified.
absl::StatusOr<v1::Architecture> ParseArchitecture(const std::string& text);
std::string ArchitectureName(v1::Architecture architecture);

}  // namespace kdbg::client
