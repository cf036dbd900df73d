#include "server/host/runner_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/host/seqpacket.h"

namespace kdbg::host {
namespace {

constexpr int kListenFd = 3;
constexpr int kLifelineFd = 4;
// The runner kills what it started and waits for it; longer means it hangs.
constexpr std::chrono::seconds kGoodbye{5};

}  // namespace

absl::StatusOr<std::unique_ptr<RunnerProcess>> RunnerProcess::Spawn(const Options& options) {
  KDBG_RETURN_IF_ERROR(MakeDirectories(options.directory, 0700));
  const std::filesystem::path path = options.directory / "runner.sock";
  KDBG_ASSIGN_OR_RETURN(const UniqueFd listening, ListenSeqpacket(path));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);

  Subprocess::Options start;
  start.argv = {options.executable.string(),       "--listen-fd",
                std::to_string(kListenFd),         "--lifeline-fd",
                std::to_string(kLifelineFd),       "--first-uid",
                std::to_string(options.first_uid), "--uid-count",
                std::to_string(options.uid_count)};
  for (const std::filesystem::path& root : options.allowed_roots) {
    start.argv.insert(start.argv.end(), {"--allow", root.string()});
  }
  start.descriptors = {
      {STDERR_FILENO, STDERR_FILENO}, {kListenFd, listening.get()}, {kLifelineFd, read_end.get()}};
  absl::StatusOr<Subprocess> child = Subprocess::Start(start);
  if (!child.ok()) {
    return MakeError(
        absl::StatusCode::kUnavailable, Reason::kRunnerUnavailable,
        fmt::format("cannot start the runner {} ({}); it belongs beside kdbgd",
                    options.executable.string(), std::string(child.status().message())));
  }
  return std::unique_ptr<RunnerProcess>(
      new RunnerProcess(path, *std::move(child), std::move(write_end)));
}

RunnerProcess::RunnerProcess(std::filesystem::path socket, Subprocess child, UniqueFd lifeline)
    : socket_(std::move(socket)), child_(std::move(child)), lifeline_(std::move(lifeline)) {}

RunnerProcess::~RunnerProcess() {
  lifeline_.Reset();
  child_.WaitFor(kGoodbye);  // else ~Subprocess kills it, and the kernel what it started
  ::unlink(socket_.c_str());
}

}  // namespace kdbg::host
