#include "server/app/paths.h"

#include <string>

#include "proto/support/default_paths.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::app {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

// Others may pass through but not list: names inside are ids and digests nobody can guess.
constexpr int kPassable = 0711;
constexpr int kClosed = 0700;

}  // namespace

absl::StatusOr<std::vector<std::filesystem::path>> UnixSockets(const config::Server& server) {
  std::vector<std::filesystem::path> sockets;
  for (const std::string& address : server.listen) {
    if (address.starts_with(kUnixPrefix)) sockets.emplace_back(address.substr(kUnixPrefix.size()));
  }
  if (!sockets.empty()) return sockets;
  // An admin always has a way in.
  KDBG_ASSIGN_OR_RETURN(const DaemonPaths defaults, DefaultDaemonPaths(PathEnvironment::Current()));
  return std::vector{defaults.socket};
}

absl::StatusOr<Paths> MakePaths(const config::Server& server) {
  KDBG_ASSIGN_OR_RETURN(const DaemonPaths defaults, DefaultDaemonPaths(PathEnvironment::Current()));
  Paths paths;
  paths.state = server.state_dir.empty() ? defaults.state_directory : server.state_dir;
  paths.database = paths.state / "kdbgd.db";
  paths.store = paths.state / "store";
  paths.guests = paths.state / "guests";
  paths.templates = paths.state / "templates";
  paths.libvirt = paths.state / "libvirt";
  paths.git = paths.state / "git";
  paths.uploads = paths.state / "uploads";
  paths.mirrors = paths.state / "mirrors";
  paths.workspaces = paths.state / "workspaces";
  paths.gdb_indexes = paths.state / "gdb-index";
  paths.seeds = paths.state / "seeds";
  paths.logs = paths.state / "logs";
  paths.private_sockets = paths.state / "private";
  paths.authority = paths.state / "tls";
  for (const auto& path : {paths.state, paths.store, paths.guests, paths.libvirt}) {
    KDBG_RETURN_IF_ERROR(MakeDirectories(path, kPassable));
  }
  for (const auto& path : {paths.git, paths.uploads, paths.mirrors, paths.workspaces, paths.seeds,
                           paths.gdb_indexes, paths.templates, paths.logs, paths.private_sockets}) {
    KDBG_RETURN_IF_ERROR(MakeDirectories(path, kClosed));
  }
  KDBG_ASSIGN_OR_RETURN(paths.sockets, UnixSockets(server));
  for (const auto& socket : paths.sockets) {
    std::error_code exists;
    if (std::filesystem::is_directory(socket.parent_path(), exists)) continue;
    KDBG_RETURN_IF_ERROR(MakeDirectories(socket.parent_path(), 0755));
  }
  return paths;
}

}  // namespace kdbg::app
