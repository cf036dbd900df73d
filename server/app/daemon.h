// The composition root: makes every part in layer order, and takes them down in the reverse.
//
// The one place that knows all of them, and it knows nothing else: no logic of any part lives here.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/config/config.h"

namespace kdbg::app {

struct DaemonOptions {
  config::Config config;
  std::filesystem::path runner_program;  // kdbg-runner, when no runner_socket is configured
};

class Daemon {
 public:
  // Everything is up and the sockets listen when this returns. The runner is started first: nothing
  // may be spawned that inherits from a process in which gRPC runs.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const DaemonOptions& options);

  // What of `config` takes effect without a restart does: roles, the level of the log, TLS files.
  // Whoever has another role now finds their streams ended.
  absl::Status Reload(const config::Config& config);

  // Calls `alive` each `period` while the parts that could stand still answer; once.
  void Watch(absl::Duration period, std::function<void()> alive);

  // Refuses new work, tells streams, cancels builds (they are queued again by the next start), lets
  // go of what is left. Within `grace` plus what the disk takes.
  void Stop(absl::Duration grace);

  ~Daemon();

 private:
  class Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace kdbg::app
