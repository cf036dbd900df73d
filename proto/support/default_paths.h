// Where kdbgd listens and keeps its state, and where kdbgctl looks, when nobody says otherwise: one
// rule for both ends.
//
//   root      socket /run/kdbgd/kdbgd.sock, state /var/lib/kdbgd
//   others    socket $XDG_RUNTIME_DIR/kdbg/kdbgd.sock, else <state>/kdbgd.sock;
//             state $XDG_STATE_HOME/kdbg, else ~/.local/state/kdbg
//
// systemd's $STATE_DIRECTORY and $RUNTIME_DIRECTORY, when set, win for the daemon.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kdbg {

// What the rule depends on; an empty string is "not set".
struct PathEnvironment {
  bool root = false;
  std::string home = {};
  std::string xdg_runtime_dir = {};
  std::string xdg_state_home = {};
  std::string xdg_config_home = {};
  std::string xdg_cache_home = {};
  std::string systemd_state_directory = {};    // STATE_DIRECTORY, the first of its list
  std::string systemd_runtime_directory = {};  // RUNTIME_DIRECTORY, the first of its list

  // Of this process. HOME falls back to the user database.
  static PathEnvironment Current();
};

struct DaemonPaths {
  std::filesystem::path state_directory;
  std::filesystem::path socket;
};

// FAILED_PRECONDITION when the environment names no home at all.
absl::StatusOr<DaemonPaths> DefaultDaemonPaths(const PathEnvironment& environment);

// Where kdbgctl looks for a daemon on this host, best first: the caller's own, then the system's.
std::vector<std::filesystem::path> DefaultSockets(const PathEnvironment& environment);

// $XDG_CONFIG_HOME/kdbg and $XDG_CACHE_HOME/kdbg of the caller.
absl::StatusOr<std::filesystem::path> UserConfigDirectory(const PathEnvironment& environment);
absl::StatusOr<std::filesystem::path> UserCacheDirectory(const PathEnvironment& environment);

}  // namespace kdbg
