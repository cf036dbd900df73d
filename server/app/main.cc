// kdbgd: flags and signals; everything else is in daemon.cc.

#include <fmt/format.h>
#include <pthread.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "server/app/daemon.h"
#include "server/app/paths.h"
#include "server/app/user_commands.h"
#include "server/app/version.h"
#include "server/config/config.h"
#include "server/observe/log.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

// Blocked in every thread, so that only sigwait below sees them.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // A peer that goes away is an error of write(), not the end of the daemon.
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// kdbg-runner is beside us in a build tree, below libexec when installed.
std::filesystem::path FindRunner() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = self.parent_path() / "kdbg-runner";
  if (std::filesystem::exists(beside, error)) return beside;
  return self.parent_path().parent_path() / "libexec" / "kdbgd" / "kdbg-runner";
}

// What `kdbgd user` was asked for.
struct UserWords {
  CLI::App* noun = nullptr;
  CLI::App* add = nullptr;
  CLI::App* list = nullptr;
  CLI::App* revoke = nullptr;
  CLI::App* remove = nullptr;
  std::string name;
  std::string role;
  std::string ttl;
};

void AddUserWords(CLI::App& flags, UserWords& words) {
  words.noun = flags.add_subcommand("user", "who may come over TLS; asks the daemon that runs");
  words.noun->require_subcommand(1);
  words.noun->fallthrough();
  words.add = words.noun->add_subcommand("add", "let a user's machine in, by a one-time code");
  words.list = words.noun->add_subcommand("list", "who was let in");
  words.revoke = words.noun->add_subcommand("revoke", "refuse a user from now on");
  words.remove = words.noun->add_subcommand("remove", "refuse and forget");
  for (CLI::App* word : {words.add, words.revoke, words.remove}) {
    word->add_option("NAME", words.name, "the user")->required();
    word->fallthrough();
  }
  words.list->fallthrough();
  words.add->add_option("--role", words.role, "viewer, user or admin; default user")
      ->check(CLI::IsMember({"viewer", "user", "admin"}));
  words.add->add_option("--ttl", words.ttl, "how long the code is good: 30m, 24h; default 1h");
}

absl::Status RunUserWords(const UserWords& words, const kdbg::config::Config& config) {
  const auto sockets = kdbg::app::UnixSockets(config.server);
  if (!sockets.ok()) return sockets.status();
  const kdbg::app::UserCommands commands(sockets->front());
  if (words.list->parsed()) return commands.List();
  if (words.revoke->parsed()) return commands.Revoke(words.name);
  if (words.remove->parsed()) return commands.Remove(words.name);
  std::optional<absl::Duration> ttl;
  if (!words.ttl.empty() && !absl::ParseDuration(words.ttl, &ttl.emplace())) {
    return absl::InvalidArgumentError("--ttl: write a duration such as 30m or 24h");
  }
  return commands.Add(words.name, words.role, ttl);
}

// A configuration that is wrong changes nothing.
void Reload(kdbg::app::Daemon& daemon, const std::string& config_file) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t now_us = now.tv_sec * std::int64_t{1'000'000} + now.tv_nsec / 1000;
  sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now_us).c_str());
  absl::StatusOr<kdbg::config::Config> config = kdbg::config::Config();
  if (!config_file.empty()) config = kdbg::config::LoadConfig(config_file);
  absl::Status reloaded = config.status();
  if (reloaded.ok()) reloaded = daemon.Reload(*config);
  if (reloaded.ok()) {
    spdlog::info("roles, certificates and the level of the log are as configured now");
  } else {
    spdlog::error("not reloaded: {}", std::string(reloaded.message()));
  }
  sd_notify(0, "READY=1");
}

int Complain(const absl::Status& status) {
  fmt::print(stderr, "kdbgd: {}\n", std::string(status.message()));
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App flags{
      "Examples:\n"
      "  kdbgd                                   serve the default unix socket, nothing to set up\n"
      "  kdbgd --config /etc/kdbg/kdbgd.toml     serve as configured\n"
      "  kdbgd --config FILE --check             only say whether FILE is right\n"
      "  kdbgd user add alice                    let alice's machine in over TLS\n\n"
      "kdbgd builds Linux kernels with debug information and boots them in virtual machines, each "
      "with a gdb port."};
  std::string config_file;
  bool check = false;
  flags.add_option("--config", config_file, "Configuration file (TOML)");
  flags.add_flag("--check", check, "Check the configuration and exit");
  flags.set_version_flag("--version", std::string("kdbgd ") + KDBG_VERSION);
  UserWords user;
  AddUserWords(flags, user);
  try {
    flags.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return flags.exit(error) == 0 ? 0 : kUsage;
  }

  kdbg::app::DaemonOptions options;
  if (!config_file.empty()) {
    auto config = kdbg::config::LoadConfig(config_file);
    if (!config.ok()) return Complain(config.status());
    options.config = *std::move(config);
  }
  if (const absl::Status log = kdbg::observe::StartLog(options.config.server.log_level);
      !log.ok()) {
    return Complain(log);
  }
  if (check) return 0;
  if (user.noun->parsed()) {
    const absl::Status done = RunUserWords(user, options.config);
    return done.ok() ? 0 : Complain(done);
  }

  const sigset_t signals = BlockSignals();
  options.runner_program = FindRunner();
  auto daemon = kdbg::app::Daemon::Start(options);
  if (!daemon.ok()) return Complain(daemon.status());
  sd_notify(0, "READY=1");
  if (std::uint64_t patience_us = 0; sd_watchdog_enabled(0, &patience_us) > 0) {
    const absl::Duration patience = absl::Microseconds(static_cast<std::int64_t>(patience_us));
    (*daemon)->Watch(patience / 3, [] { sd_notify(0, "WATCHDOG=1"); });
  }

  int signal_number = 0;
  while (sigwait(&signals, &signal_number) == 0 && signal_number == SIGHUP) {
    Reload(**daemon, config_file);
  }
  spdlog::info("ending on signal {}", signal_number);
  sd_notify(0, "STOPPING=1");
  (*daemon)->Stop(absl::Seconds(4));
  return 0;
}
