#include "server/runner/options.h"

#include <fmt/format.h>
#include <getopt.h>
#include <pwd.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace kdbg::runner {
namespace {

constexpr int kSystemdFirstFd = 3;

enum Flag {
  kListenFd = 1,
  kLifelineFd,
  kAllow,
  kFirstUid,
  kUidCount,
  kClientUser,
  kSuperviseFd,
  kCgroups,
  kParentPid,
  kLaunch,
};

constexpr option kFlags[] = {
    {"listen-fd", required_argument, nullptr, kListenFd},
    {"lifeline-fd", required_argument, nullptr, kLifelineFd},
    {"allow", required_argument, nullptr, kAllow},
    {"first-uid", required_argument, nullptr, kFirstUid},
    {"uid-count", required_argument, nullptr, kUidCount},
    {"client-user", required_argument, nullptr, kClientUser},
    {"supervise-fd", required_argument, nullptr, kSuperviseFd},
    {"cgroups", required_argument, nullptr, kCgroups},
    {"parent-pid", required_argument, nullptr, kParentPid},
    {"launch", no_argument, nullptr, kLaunch},
    {nullptr, 0, nullptr, 0},
};

template <typename Integer>
bool Parse(std::string_view text, Integer& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size() && into >= 0;
}

// A name of the user database or a number.
bool ParseUser(const char* text, std::int64_t& uid) {
  if (Parse(text, uid)) return true;
  const passwd* entry = ::getpwnam(text);
  if (entry == nullptr) return false;
  uid = entry->pw_uid;
  return true;
}

bool Take(int flag, const char* value, Options& options) {
  switch (flag) {
    case kListenFd:
      return Parse(value, options.listen_fd);
    case kLifelineFd:
      return Parse(value, options.lifeline_fd);
    case kAllow:
      options.allowed_roots.emplace_back(value);
      return options.allowed_roots.back().is_absolute();
    case kFirstUid:
      return Parse(value, options.first_uid);
    case kUidCount:
      return Parse(value, options.uid_count);
    case kClientUser:
      return ParseUser(value, options.client_uid);
    case kSuperviseFd:
      return Parse(value, options.supervise_fd);
    case kCgroups:
      options.cgroups = host::CgroupHome::FromText(value);
      return true;
    case kParentPid:
      return Parse(value, options.parent_pid);
    case kLaunch:
      options.launch = true;
      return true;
    default:
      return false;
  }
}

// sd_listen_fds(3), for one socket.
int SystemdSocket() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  pid_t number = 0;
  if (pid == nullptr || count == nullptr || !Parse(pid, number) || number != ::getpid()) return -1;
  return std::string_view(count) == "1" ? kSystemdFirstFd : -1;
}

}  // namespace

absl::StatusOr<Options> ParseOptions(int argc, char** argv) {
  Options options;
  int index = 0;
  opterr = 0;
  for (int flag = 0; (flag = ::getopt_long(argc, argv, "", kFlags, &index)) != -1;) {
    if (flag == '?' || !Take(flag, optarg, options)) {
      return absl::InvalidArgumentError(
          fmt::format("kdbg-runner: cannot use {}", argv[optind - 1]));
    }
  }
  if (optind < argc) {
    return absl::InvalidArgumentError(fmt::format("kdbg-runner: cannot use {}", argv[optind]));
  }
  if (options.client_uid < 0) options.client_uid = ::geteuid();
  if (options.launch || options.supervise_fd >= 0) return options;
  if (options.listen_fd < 0) options.listen_fd = SystemdSocket();
  if (options.listen_fd < 0) {
    return absl::InvalidArgumentError(
        "kdbg-runner is started by kdbgd or by systemd's kdbg-runner.socket, not by hand");
  }
  return options;
}

std::vector<std::string> SupervisorArguments(const Options& options, int connection_fd) {
  std::vector<std::string> arguments{
      "--supervise-fd", std::to_string(connection_fd),
      "--first-uid",    std::to_string(options.first_uid),
      "--uid-count",    std::to_string(options.uid_count),
      "--client-user",  std::to_string(options.client_uid),
      "--cgroups",      options.cgroups.ToText(),
      "--parent-pid",   std::to_string(::getpid()),
  };
  for (const std::filesystem::path& root : options.allowed_roots) {
    arguments.insert(arguments.end(), {"--allow", root.string()});
  }
  return arguments;
}

}  // namespace kdbg::runner
