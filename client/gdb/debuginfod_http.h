// What gdb's debuginfod client asks for, over HTTP on the loopback: symbols and source files of
// kernels and modules, by build id (/TOKEN/buildid/ID/debuginfo, .../executable,
// .../source/src/PATH). gdb fetches a source file at the moment it first shows a line of it.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct MHD_Daemon;

namespace kdbg::client {

// Called on the HTTP thread, one at a time. NOT_FOUND is told to gdb, which remembers it; anything
// else may pass.
struct DebuginfodAnswers {
  // The content of a path below the source root.
  std::function<absl::StatusOr<std::string>(const std::string& build_id, const std::string& path)>
      source;
  // A file of this machine with the program and its debug information.
  std::function<absl::StatusOr<std::filesystem::path>(const std::string& build_id)> symbols;
};

class DebuginfodHttp {
 public:
  // Other users of this machine can reach the port but do not know `token`. Port 0: any free one.
  //   UNAVAILABLE  somebody else has the port
  static absl::StatusOr<std::unique_ptr<DebuginfodHttp>> Start(const std::string& token, int port,
                                                               DebuginfodAnswers answers);
  ~DebuginfodHttp();
  int port() const;

 private:
  friend struct DebuginfodCallbacks;
  DebuginfodHttp(std::string prefix, DebuginfodAnswers answers)
      : prefix_(std::move(prefix)), answers_(std::move(answers)) {}

  const std::string prefix_;
  const DebuginfodAnswers answers_;
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace kdbg::client
