#include "server/build/tool_check.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::build {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr std::size_t kMaximumWords = 200;

struct Outcome {
  host::SandboxResult result;
  std::string words;
};

absl::StatusOr<Outcome> TryCache(host::SandboxRunner& runner,
                                 std::optional<host::Identity> run_as) {
  host::Sandbox sandbox;
  sandbox.label = "check of the compiler cache";
  sandbox.run_as = std::move(run_as);
  sandbox.argv = {"ccache", "--version"};
  sandbox.limits.wall_time = kPatience;
  const UniqueFd words(::memfd_create("words", MFD_CLOEXEC));
  KDBG_ASSIGN_OR_RETURN(const auto run, runner.Start(sandbox, -1, -1, words.get()));
  Outcome outcome{.result = run->Wait(), .words = ""};
  outcome.words = ReadFile(fmt::format("/proc/self/fd/{}", words.get()), 4096).value_or("");
  absl::StripAsciiWhitespace(&outcome.words);
  outcome.words.resize(std::min(outcome.words.size(), kMaximumWords));
  return outcome;
}

}  // namespace

void ToolCheck::Look() {
  absl::StatusOr<Outcome> outcome = [&]() -> absl::StatusOr<Outcome> {
    KDBG_ASSIGN_OR_RETURN(std::optional<host::Identity> identity, run_as_());
    return TryCache(runner_, std::move(identity));
  }();
  absl::Status sandbox = outcome.status();
  absl::Status cache;
  if (outcome.ok()) {
    const host::SandboxResult& result = outcome->result;
    if (result.cause == host::EndCause::kNotStarted ||
        result.cause == host::EndCause::kRunnerLost) {
      sandbox = MakeError(absl::StatusCode::kFailedPrecondition, Reason::kSandboxUnavailable,
                          fmt::format("no build can be made: {}", result.message));
    } else if (!result.ok()) {
      cache = MakeError(
          absl::StatusCode::kFailedPrecondition, Reason::kMissingTool,
          fmt::format("ccache does not run, and so no build will: {}; apt-get install --reinstall "
                      "ccache",
                      outcome->words.empty() ? host::EndCauseName(result.cause) : outcome->words));
    }
  }
  absl::MutexLock lock(&mutex_);
  sandbox_ = std::move(sandbox);
  compile_cache_ = std::move(cache);
}

absl::Status ToolCheck::sandbox() const {
  absl::MutexLock lock(&mutex_);
  return sandbox_;
}

absl::Status ToolCheck::compile_cache() const {
  absl::MutexLock lock(&mutex_);
  return compile_cache_;
}

}  // namespace kdbg::build
