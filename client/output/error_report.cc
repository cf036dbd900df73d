#include "client/output/error_report.h"

#include <fmt/format.h>

#include "client/output/text.h"
#include "proto/contract/error.h"

namespace kdbg::client {
namespace {

std::string Value(const ErrorDetail& detail, const std::string& key) {
  const auto found = detail.metadata.find(key);
  return found == detail.metadata.end() ? "" : found->second;
}

// What to type next, from the reason; the message itself is the server's.
std::string Hint(const ErrorDetail& detail) {
  const auto reason = ReasonFromName(detail.reason).value_or(Reason::kUnspecified);
  switch (reason) {
    case Reason::kSandboxUnavailable:
    case Reason::kAcceleratorUnavailable:
    case Reason::kMemoryOutOfBounds:
      return "`kdbgctl info` shows what this server can do";
    case Reason::kNoDefaultBuild:
      return Value(detail, "kind") == "initramfs" ? "kdbgctl initramfs build --busybox TARBALL"
                                                  : "kdbgctl kernel build SOURCE";
    case Reason::kHolderBusy:
      return "only one at a time: end the other one first";
    case Reason::kNoFreePort:
    case Reason::kQuotaExceeded:
      return "kdbgctl session list; kdbgctl session rm SESSION frees one";
    case Reason::kQueueFull:
      return "kdbgctl build list";
    case Reason::kDiskFull:
      return "kdbgctl artifact list; kdbgctl artifact rm ARTIFACT frees space";
    default:
      return detail.retry_delay ? fmt::format("try again in {}", Elapsed(*detail.retry_delay)) : "";
  }
}

}  // namespace

int ExitCodeFor(const absl::Status& status) {
  if (HasReason(status, Reason::kHolderBusy)) return kExitBusy;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitPermission;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
      return kExitBusy;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnavailable;
    default:
      return kExitFailed;
  }
}

std::string ErrorReport(const absl::Status& status) {
  std::string message(status.message());
  if (message.empty()) message = absl::StatusCodeToString(status.code());
  if (absl::IsDeadlineExceeded(status)) message = "the server did not answer in time: " + message;
  std::string report = fmt::format("kdbgctl: {}\n", message);
  if (const auto detail = GetErrorDetail(status)) {
    if (const std::string hint = Hint(*detail); !hint.empty()) {
      report += fmt::format("hint: {}\n", hint);
    }
  }
  return report;
}

}  // namespace kdbg::client
