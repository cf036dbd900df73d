// The source files of one kernel over HTTP on the loopback, in the form gdb's debuginfod client
// asks for
// (/TOKEN/buildid/ID/source/src/PATH). gdb fetches a file at the moment it first shows a line of
// it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct MHD_Daemon;

namespace kdbg::client {

// The content of a path below the source root. Called on the HTTP thread.
using FetchSource = std::function<absl::StatusOr<std::string>(const std::string& path)>;

class SourceHttp {
 public:
  // Other users of this machine can reach the port but do not know `token`.
  static absl::StatusOr<std::unique_ptr<SourceHttp>> Start(std::string token, std::string build_id,
                                                           FetchSource fetch);
  ~SourceHttp();
  int port() const;

 private:
  friend struct SourceHttpCallbacks;
  SourceHttp(std::string prefix, FetchSource fetch)
      : prefix_(std::move(prefix)), fetch_(std::move(fetch)) {}

  const std::string prefix_;
  const FetchSource fetch_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace kdbg::client
