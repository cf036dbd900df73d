#include "server/vm/libvirt/libvirt_handles.h"

#include <fmt/format.h>
#include <libvirt/virterror.h>

#include <string>

#include "proto/contract/error.h"

namespace kdbg::vm {
namespace {

bool IsConnectionError(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_UNAVAILABLE:
      return true;
    case VIR_ERR_SYSTEM_ERROR:
    case VIR_ERR_INTERNAL_ERROR:
      return error.domain == VIR_FROM_RPC || error.domain == VIR_FROM_REMOTE;
    default:
      return false;
  }
}

}  // namespace

absl::Status LastLibvirtError(std::string_view doing) {
  const virErrorPtr error = virGetLastError();
  if (error == nullptr || error->message == nullptr) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                     fmt::format("libvirt failed while {}, without saying why", doing));
  }
  const std::string text = error->message;
  if (IsConnectionError(*error)) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                     fmt::format("libvirt cannot be reached while {}: {}; see that it runs, then "
                                 "try again",
                                 doing, text));
  }
  if (error->code == VIR_ERR_NO_MEMORY || text.find("annot allocate memory") != std::string::npos) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, Reason::kOutOfMemory,
        fmt::format("no memory left on the host while {}: {}; end a session or ask for "
                    "less memory",
                    doing, text));
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                   fmt::format("libvirt refused while {}: {}", doing, text));
}

bool LastErrorIsNoDomain() {
  // OPERATION_INVALID: "domain is not running", as it may be for a moment while it goes away.
  const int code = virGetLastErrorCode();
  return code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID;
}

}  // namespace kdbg::vm
