#include "server/build/build_record.h"

namespace kdbg::build {

std::string_view ToString(BuildState state) {
  switch (state) {
    case BuildState::kQueued:
      return "QUEUED";
    case BuildState::kRunning:
      return "RUNNING";
    case BuildState::kSucceeded:
      return "SUCCEEDED";
    case BuildState::kFailed:
      return "FAILED";
    case BuildState::kCancelled:
      return "CANCELLED";
  }
  return "UNKNOWN";
}

Architecture ArchitectureOf(const BuildRequest& request) {
  return std::visit([](const auto& spec) { return spec.architecture; }, request.spec);
}

}  // namespace kdbg::build
