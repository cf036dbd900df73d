#include "client/commands/lookup.h"

#include <fmt/format.h>

#include "proto/contract/architecture.h"
#include "proto/contract/resource_name.h"

namespace kdbg::client {
namespace {

constexpr std::pair<Architecture, v1::Architecture> kArchitectures[] = {
    {Architecture::kX86_64, v1::ARCHITECTURE_X86_64},
    {Architecture::kArm64, v1::ARCHITECTURE_ARM64},
    {Architecture::kRiscv64, v1::ARCHITECTURE_RISCV64}};

absl::StatusOr<std::string> FullName(std::string_view collection, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(collection, text));
  return ResourceName(collection, id);
}

}  // namespace

absl::StatusOr<std::string> SessionName(const std::string& text) {
  return FullName(kSessions, text);
}

absl::StatusOr<v1::Build> FindBuild(Context& context, const std::string& text) {
  v1::GetBuildRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), FullName(kBuilds, text));
  return context.Call<v1::BuildService>(&v1::BuildService::Stub::GetBuild, request);
}

absl::StatusOr<v1::Session> FindSession(Context& context, const std::string& text) {
  v1::GetSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(text));
  return context.Call<v1::SessionService>(&v1::SessionService::Stub::GetSession, request);
}

absl::StatusOr<v1::Artifact> FindArtifact(Context& context, const std::string& text) {
  v1::GetArtifactRequest request;
  if (!text.starts_with("builds/")) {
    KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), FullName(kArtifacts, text));
    auto artifact =
        context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::GetArtifact, request);
    if (artifact.ok() || !absl::IsNotFound(artifact.status()) || text.starts_with("artifacts/")) {
      return artifact;
    }
  }
  const auto build = FindBuild(context, text);
  if (absl::IsNotFound(build.status())) {
    return absl::NotFoundError(
        fmt::format("{}: no artifact and no build of that name, or not yours to see", text));
  }
  if (!build.ok()) return build.status();
  if (build->artifact().empty()) {
    return absl::FailedPreconditionError(fmt::format(
        "{} has left no artifact: it is {}", build->name(), v1::Build::State_Name(build->state())));
  }
  request.set_name(build->artifact());
  return context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::GetArtifact, request);
}

absl::StatusOr<v1::Architecture> ParseArchitecture(const std::string& text) {
  if (text.empty()) return v1::ARCHITECTURE_UNSPECIFIED;
  if (const ArchitectureTraits* traits = FindArchitecture(text)) {
    for (const auto& [ours, wire] : kArchitectures) {
      if (ours == traits->architecture) return wire;
    }
  }
  std::string names;
  for (const ArchitectureTraits& traits : Architectures()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", traits.name);
  }
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no architecture: known are {}", text, names));
}

std::string ArchitectureName(v1::Architecture architecture) {
  for (const auto& [ours, wire] : kArchitectures) {
    if (wire == architecture) return std::string(TraitsOf(ours).name);
  }
  return "";
}

}  // namespace kdbg::client
