// A small process beside gdb that answers its source requests; it ends with gdb, however gdb ends.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/commands/context.h"
#include "proto/support/subprocess.h"

namespace kdbg::client {

// Hidden command `source-server`: prints "PORT TOKEN\n", serves until standard input ends.
struct SourceServerOptions {
  std::string source;
  std::string build_id;
};
CommandEnd ServeSources(Context& context, const SourceServerOptions& options);

class SourceServerProcess {
 public:
  // The process lives until every copy of a descriptor that this process (and what it execs)
  // inherits is closed.
  static absl::StatusOr<SourceServerProcess> Start(const ServerAddress& server,
                                                   const v1::Artifact& kernel);
  const std::string& url() const { return url_; }

 private:
  SourceServerProcess(Subprocess process, UniqueFd lifeline, std::string url)
      : process_(std::move(process)), lifeline_(std::move(lifeline)), url_(std::move(url)) {}

  Subprocess process_;
  UniqueFd lifeline_;
  std::string url_;
};

}  // namespace kdbg::client
