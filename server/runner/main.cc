// kdbg-runner: starts sandboxes for kdbgd.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "server/runner/launch.h"
#include "server/runner/options.h"
#include "server/runner/serve.h"
#include "server/runner/supervise.h"

int main(int argc, char** argv) {
  const absl::StatusOr<kdbg::runner::Options> options = kdbg::runner::ParseOptions(argc, argv);
  if (!options.ok()) {
    fmt::print(stderr, "{}\n", std::string(options.status().message()));
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  if (options->launch) return kdbg::runner::Launch();
  if (options->supervise_fd >= 0) return kdbg::runner::Supervise(*options);
  return kdbg::runner::Serve(*options);
}
