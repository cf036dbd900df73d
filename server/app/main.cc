// kdbgd: flags and signals; everything else is in daemon.cc.

#include <fmt/format.h>
#include <pthread.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "server/app/daemon.h"
#include "server/app/version.h"
#include "server/config/config.h"
#include "server/observe/log.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

// Blocked in every thread, so that only sigwait below sees them.
sigset_t BlockEndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
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
      "  kdbgd --config FILE --check             only say whether FILE is right\n\n"
      "kdbgd builds Linux kernels with debug information and boots them in virtual machines, each "
      "with a gdb port."};
  std::string config_file;
  bool check = false;
  flags.add_option("--config", config_file, "Configuration file (TOML)");
  flags.add_flag("--check", check, "Check the configuration and exit");
  flags.set_version_flag("--version", std::string("kdbgd ") + KDBG_VERSION);
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

  const sigset_t end_signals = BlockEndSignals();
  options.runner_program = FindRunner();
  auto daemon = kdbg::app::Daemon::Start(options);
  if (!daemon.ok()) return Complain(daemon.status());
  sd_notify(0, "READY=1");

  int signal_number = 0;
  sigwait(&end_signals, &signal_number);
  spdlog::info("ending on signal {}", signal_number);
  sd_notify(0, "STOPPING=1");
  (*daemon)->Stop(absl::Seconds(4));
  return 0;
}
