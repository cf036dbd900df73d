// A small process beside gdb that answers its source requests; it ends with gdb, however gdb ends.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/commands/companion.h"
#include "client/commands/context.h"

namespace kdbg::client {

// Hidden command `source-server`: prints "PORT TOKEN\n", serves until standard input ends.
struct SourceServerOptions {
  std::string source;
  std::string build_id;
};
CommandEnd ServeSources(Context& context, const SourceServerOptions& options);

class SourceServerProcess {
 public:
  // Errors also when it does not come up.
  static absl::StatusOr<SourceServerProcess> Start(const ServerAddress& server,
                                                   const std::string& source,
                                                   const std::string& build_id);
  const std::string& url() const { return url_; }

 private:
  SourceServerProcess(Companion process, std::string url)
      : process_(std::move(process)), url_(std::move(url)) {}

  Companion process_;
  std::string url_;
};

}  // namespace kdbg::client
