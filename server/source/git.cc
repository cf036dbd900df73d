#include "server/source/git.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iterator>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

// A listing of a million objects fits.
constexpr std::size_t kOutputBytes = std::size_t{256} << 20;
constexpr std::size_t kShownBytes = 1000;
// Those who have a shorter patience stop it.
constexpr std::chrono::hours kTimeLimit(24);

std::string SearchPath() {
  const char* path = ::getenv("PATH");
  return path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
}

}  // namespace

bool IsObjectId(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Subprocess::Options Git::Command(std::vector<std::string> arguments) const {
  Subprocess::Options options;
  // The umask makes work trees readable for the uid that builds, whatever ours is.
  options.argv = {"/bin/sh", "-c", "umask 022; exec git \"$@\"", "git"};
  for (const char* setting :
       {"core.hooksPath=/dev/null", "core.attributesFile=/dev/null", "core.excludesFile=/dev/null",
        // A tree may hold any name that Linux takes; the archive reader has refused .git.
        "core.protectNTFS=false", "core.protectHFS=false", "core.symlinks=true",
        // Linking a file elsewhere changes its ctime, not the file.
        "core.fileMode=true", "core.trustctime=false", "gc.auto=0", "maintenance.auto=false",
        "advice.detachedHead=false"}) {
    options.argv.insert(options.argv.end(), {"-c", setting});
  }
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = {"PATH=" + SearchPath(),           "LC_ALL=C.UTF-8",
                         "GIT_CONFIG_NOSYSTEM=1",          "GIT_CONFIG_GLOBAL=/dev/null",
                         "GIT_TERMINAL_PROMPT=0",          "GIT_NO_REPLACE_OBJECTS=1",
                         "GIT_DIR=" + repository_.string()};
  if (!objects_.empty()) {
    options.environment->push_back("GIT_OBJECT_DIRECTORY=" + objects_.string());
    options.environment->push_back("GIT_ALTERNATE_OBJECT_DIRECTORIES=" + alternate_.string());
  }
  options.working_directory = "/";
  return options;
}

Subprocess::Options Git::Command(std::vector<std::string> arguments, const WorkTree& in) const {
  Subprocess::Options options = Command(std::move(arguments));
  options.environment->push_back("GIT_WORK_TREE=" + in.directory.string());
  options.environment->push_back("GIT_INDEX_FILE=" + in.index_file.string());
  options.working_directory = in.directory;
  return options;
}

absl::StatusOr<std::string> Git::Run(Subprocess::Options command, std::stop_token stop,
                                     std::string input) {
  if (stop.stop_requested()) return absl::CancelledError("stopped");
  KDBG_ASSIGN_OR_RETURN(
      CommandResult result,
      RunCommand(std::move(command), std::move(input), kTimeLimit, kOutputBytes, std::move(stop)));
  if (!result.status.ok()) return Failure("git", result.status, result.error);
  if (result.output.size() == kOutputBytes) {
    return absl::ResourceExhaustedError("git printed more than is read at once");
  }
  return std::move(result.output);
}

Subprocess::Options Git::Limited(Subprocess::Options command, std::int64_t cpu_seconds) {
  constexpr std::int64_t kMemoryKib = std::int64_t{6} << 20;
  // Into the script of Command.
  command.argv[2].insert(0, fmt::format("ulimit -v {}; ulimit -t {}; ", kMemoryKib, cpu_seconds));
  return command;
}

absl::Status Git::Failure(std::string_view action, const ExitStatus& status,
                          std::string_view stderr_text) {
  const std::string text =
      fmt::format("{}: {}: {}", action, status.Describe(), ShortUtf8(stderr_text, kShownBytes));
  // The last is how git says that a write came back short.
  constexpr std::string_view kNoRoom[] = {"No space left on device", "Disk quota exceeded",
                                          "Out of diskspace"};
  if (std::any_of(std::begin(kNoRoom), std::end(kNoRoom), [&](std::string_view words) {
        return stderr_text.find(words) != std::string_view::npos;
      })) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kDiskFull,
                     text + "; the server's disk is full: free space, then try again");
  }
  return absl::InternalError(text);
}

}  // namespace kdbg::source
