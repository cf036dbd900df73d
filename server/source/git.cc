#include "server/source/git.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iterator>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::source {
namespace {

constexpr std::size_t kOutputBytes = std::size_t{16} << 20;
constexpr std::size_t kShownBytes = 1000;

std::string SearchPath() {
  const char* path = ::getenv("PATH");
  return path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
}

std::string ReadMemory(int fd) {
  std::string text;
  std::array<char, 65536> buffer;
  off_t offset = 0;
  while (text.size() < kOutputBytes) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
    offset += n;
  }
  return text;
}

// False when stopped before the child ended.
bool WaitUnlessStopped(const Subprocess& child, std::stop_token stop, int stop_event) {
  const std::stop_callback wake(stop, [stop_event] {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(stop_event, &one, sizeof one);
  });
  std::array<pollfd, 2> waiting = {pollfd{.fd = child.pidfd(), .events = POLLIN, .revents = 0},
                                   pollfd{.fd = stop_event, .events = POLLIN, .revents = 0}};
  while (::poll(waiting.data(), waiting.size(), -1) < 0 && errno == EINTR) {
  }
  return waiting[0].revents != 0;
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
        "core.fileMode=true", "gc.auto=0", "maintenance.auto=false", "advice.detachedHead=false"}) {
    options.argv.insert(options.argv.end(), {"-c", setting});
  }
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = {"PATH=" + SearchPath(),  "LC_ALL=C.UTF-8",
                         "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
                         "GIT_TERMINAL_PROMPT=0", "GIT_DIR=" + repository_.string()};
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

absl::StatusOr<std::string> Git::Run(Subprocess::Options command, std::stop_token stop) {
  if (stop.stop_requested()) return absl::CancelledError("stopped");
  UniqueFd output(::memfd_create("git-output", MFD_CLOEXEC));
  UniqueFd error(::memfd_create("git-error", MFD_CLOEXEC));
  UniqueFd stop_event(::eventfd(0, EFD_CLOEXEC));
  if (!output || !error || !stop_event) return ErrnoError(errno, "memfd_create");
  command.descriptors.emplace_back(1, output.get());
  command.descriptors.emplace_back(2, error.get());
  KDBG_ASSIGN_OR_RETURN(Subprocess child, Subprocess::Start(command));
  if (!WaitUnlessStopped(child, std::move(stop), stop_event.get())) {
    child.Signal(SIGKILL);
    child.Wait();
    return absl::CancelledError("stopped");
  }
  const ExitStatus status = child.Wait();
  if (!status.ok()) return Failure("git", status, ReadMemory(error.get()));
  return ReadMemory(output.get());
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
