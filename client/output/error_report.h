// A failed status as the user sees it: one line, a hint, and the exit code of DESIGN's table. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace kdbg::client {

enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitPermission = 4,
  kExitBusy = 5,
  kExitUnavailable = 6,
  kExitInterrupted = 130,
};

int ExitCodeFor(const absl::Status& status);

// For programs: google.rpc.Status in protobuf's JSON form, its details one google.rpc.ErrorInfo
// and, where waiting helps, one google.rpc.RetryInfo.
std::string ErrorDocument(const absl::Status& status);

// "kdbgctl: message\n" and, where one is known, "hint: what to type\n".
std::string ErrorReport(const absl::Status& status);

}  // namespace kdbg::client
