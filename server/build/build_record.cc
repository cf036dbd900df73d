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

std::optional<absl::Duration> BuildProgress::TimeLeft() const {
  if (phase != BuildPhase::kCompiling || steps_per_second <= 0 || steps_expected <= 0) {
    return std::nullopt;
  }
  return absl::Seconds(static_cast<double>(steps_expected - steps_done) / steps_per_second);
}

}  // namespace kdbg::build
