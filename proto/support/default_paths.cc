#include "proto/support/default_paths.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "proto/support/status_macros.h"

namespace kdbg {
namespace {

constexpr char kSystemSocket[] = "/run/kdbgd/kdbgd.sock";
constexpr char kSystemState[] = "/var/lib/kdbgd";

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// The XDG rules: a relative path is as good as none.
std::string AbsoluteVariable(const char* name) {
  std::string value = Variable(name);
  return !value.empty() && value.front() == '/' ? value : "";
}

std::string FirstOfList(const std::string& list) { return list.substr(0, list.find(':')); }

absl::StatusOr<std::filesystem::path> Below(const std::string& base, const std::string& home,
                                            const char* below_home) {
  if (!base.empty()) return std::filesystem::path(base) / "kdbg";
  if (home.empty()) {
    return absl::FailedPreconditionError("HOME is not set: set it, or name the paths");
  }
  return std::filesystem::path(home) / below_home / "kdbg";
}

absl::StatusOr<std::filesystem::path> UserStateDirectory(const PathEnvironment& environment) {
  return Below(environment.xdg_state_home, environment.home, ".local/state");
}

}  // namespace

PathEnvironment PathEnvironment::Current() {
  PathEnvironment environment;
  environment.root = ::geteuid() == 0;
  environment.home = AbsoluteVariable("HOME");
  if (environment.home.empty()) {
    if (const passwd* user = ::getpwuid(::geteuid())) environment.home = user->pw_dir;
  }
  environment.xdg_runtime_dir = AbsoluteVariable("XDG_RUNTIME_DIR");
  environment.xdg_state_home = AbsoluteVariable("XDG_STATE_HOME");
  environment.xdg_config_home = AbsoluteVariable("XDG_CONFIG_HOME");
  environment.xdg_cache_home = AbsoluteVariable("XDG_CACHE_HOME");
  environment.systemd_state_directory = FirstOfList(AbsoluteVariable("STATE_DIRECTORY"));
  environment.systemd_runtime_directory = FirstOfList(AbsoluteVariable("RUNTIME_DIRECTORY"));
  return environment;
}

absl::StatusOr<DaemonPaths> DefaultDaemonPaths(const PathEnvironment& environment) {
  DaemonPaths paths;
  if (!environment.systemd_state_directory.empty()) {
    paths.state_directory = environment.systemd_state_directory;
  } else if (environment.root) {
    paths.state_directory = kSystemState;
  } else {
    KDBG_ASSIGN_OR_RETURN(paths.state_directory, UserStateDirectory(environment));
  }
  if (!environment.systemd_runtime_directory.empty()) {
    paths.socket = std::filesystem::path(environment.systemd_runtime_directory) / "kdbgd.sock";
  } else if (environment.root) {
    paths.socket = kSystemSocket;
  } else if (!environment.xdg_runtime_dir.empty()) {
    paths.socket = std::filesystem::path(environment.xdg_runtime_dir) / "kdbg" / "kdbgd.sock";
  } else {
    paths.socket = paths.state_directory / "kdbgd.sock";
  }
  return paths;
}

std::vector<std::filesystem::path> DefaultSockets(const PathEnvironment& environment) {
  std::vector<std::filesystem::path> sockets;
  if (environment.root) sockets.emplace_back(kSystemSocket);
  if (!environment.xdg_runtime_dir.empty()) {
    sockets.push_back(std::filesystem::path(environment.xdg_runtime_dir) / "kdbg" / "kdbgd.sock");
  }
  if (const auto state = UserStateDirectory(environment); state.ok()) {
    sockets.push_back(*state / "kdbgd.sock");
  }
  if (!environment.root) sockets.emplace_back(kSystemSocket);
  return sockets;
}

absl::StatusOr<std::filesystem::path> UserConfigDirectory(const PathEnvironment& environment) {
  return Below(environment.xdg_config_home, environment.home, ".config");
}

absl::StatusOr<std::filesystem::path> UserCacheDirectory(const PathEnvironment& environment) {
  return Below(environment.xdg_cache_home, environment.home, ".cache");
}

}  // namespace kdbg
