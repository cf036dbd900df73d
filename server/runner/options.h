// How kdbg-runner was started. One executable has three lives: it serves the socket, it supervises
// one command, and it launches bubblewrap; each starts the next as a child of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/host/cgroup.h"

namespace kdbg::runner {

struct Options {
  // Serving.
  int listen_fd = -1;    // else systemd's LISTEN_FDS
  int lifeline_fd = -1;  // the daemon's end closes with the daemon; absent under systemd
  std::vector<std::filesystem::path> allowed_roots;
  std::int64_t first_uid = 0;
  std::int64_t uid_count = 0;
  std::int64_t client_uid = -1;  // who may ask beside root; -1: our own uid
  // Supervising.
  int supervise_fd = -1;
  host::CgroupHome cgroups;
  pid_t parent_pid = 0;
  // Launching.
  bool launch = false;
};

// INVALID_ARGUMENT names the flag.
absl::StatusOr<Options> ParseOptions(int argc, char** argv);

// What a supervisor of these options is started with, after its argv[0].
std::vector<std::string> SupervisorArguments(const Options& options, int connection_fd);

// Descriptors of a launching process beside the standard three.
inline constexpr int kOrderFd = 3;
inline constexpr int kStatusFd = 4;
inline constexpr int kFirstFileFd = 5;

// What a launching process writes to kStatusFd, before the reason, when it fails.
inline constexpr char kLaunchFailure[] = "kdbg-launch-failed: ";

}  // namespace kdbg::runner
