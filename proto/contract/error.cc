#include "proto/contract/error.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/time/time.h"
#include "google/protobuf/util/time_util.h"
#include "kdbg/v1/common.pb.h"
#include "proto/contract/utf8.h"

namespace kdbg {
namespace {

constexpr char kInfoUrl[] = "type.googleapis.com/kdbg.v1.ErrorInfo";
constexpr char kRetryUrl[] = "type.googleapis.com/kdbg.v1.RetryInfo";

// In the order of the enumerators.
constexpr std::string_view kNames[] = {
    "REASON_UNSPECIFIED",
    "FIELD_INVALID",
    "RESOURCE_NOT_FOUND",
    "WRONG_STATE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "NOT_IMPLEMENTED",
    "TOO_MANY_CALLS",
    "OFFSET_OUT_OF_RANGE",
    "PATH_NOT_ALLOWED",
    "NOT_AN_ARCHIVE",
    "ARCHIVE_TRUNCATED",
    "ARCHIVE_UNSAFE_MEMBER",
    "ARCHIVE_TOO_LARGE",
    "URL_NOT_ALLOWED",
    "REF_NOT_FOUND",
    "REMOTE_REFUSED",
    "REMOTE_UNAVAILABLE",
    "DIGEST_MISMATCH",
    "UPLOAD_INCOMPLETE",
    "PACK_INVALID",
    "OBJECTS_MISSING",
    "TREE_UNSAFE",
    "TREE_TOO_LARGE",
    "PATCH_INVALID",
    "PATCH_DOES_NOT_APPLY",
    "NOT_A_KERNEL_TREE",
    "NOT_A_BUSYBOX_TREE",
    "CONFIG_INVALID",
    "CONFIG_SYMBOL_UNKNOWN",
    "CONFIG_SYMBOL_LOST",
    "COMPILE_ERROR",
    "LINK_ERROR",
    "MISSING_TOOL",
    "BUILD_FAILED",
    "BUILD_TIMED_OUT",
    "IDLE",
    "OUT_OF_MEMORY",
    "TOO_MANY_PROCESSES",
    "NO_DEBUG_INFORMATION",
    "OUTPUT_UNSAFE",
    "INTERRUPTED",
    "SANDBOX_UNAVAILABLE",
    "QUEUE_FULL",
    "ACCELERATOR_UNAVAILABLE",
    "MEMORY_OUT_OF_BOUNDS",
    "NO_FREE_PORT",
    "QUOTA_EXCEEDED",
    "SYMBOL_NOT_FOUND",
    "BOOT_TIMED_OUT",
    "GUEST_EXITED",
    "GUEST_PANICKED",
    "VM_LOST",
    "HOLDER_BUSY",
    "NO_DEFAULT_BUILD",
    "DISK_FULL",
    "DATA_CORRUPT",
    "HYPERVISOR_UNAVAILABLE",
    "HYPERVISOR_REFUSED",
    "RUNNER_UNAVAILABLE",
    "DRAINING",
};
static_assert(std::size(kNames) == static_cast<std::size_t>(Reason::kDraining) + 1);

}  // namespace

std::string_view ReasonName(Reason reason) { return kNames[static_cast<std::size_t>(reason)]; }

std::optional<Reason> ReasonFromName(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return static_cast<Reason>(i);
  }
  return std::nullopt;
}

absl::Status MakeError(absl::StatusCode code, Reason reason, std::string_view message,
                       ErrorMetadata metadata, std::optional<absl::Duration> retry_delay) {
  absl::Status status(code, ValidUtf8(message));
  v1::ErrorInfo info;
  info.set_reason(std::string(ReasonName(reason)));
  info.set_domain("kdbg");
  // Values are often bytes from outside; a message that is not UTF-8 throughout cannot be read
  // back.
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[key] = ValidUtf8(value);
  status.SetPayload(kInfoUrl, absl::Cord(info.SerializeAsString()));
  if (retry_delay) {
    v1::RetryInfo retry;
    *retry.mutable_retry_delay() = google::protobuf::util::TimeUtil::NanosecondsToDuration(
        absl::ToInt64Nanoseconds(*retry_delay));
    status.SetPayload(kRetryUrl, absl::Cord(retry.SerializeAsString()));
  }
  return status;
}

std::optional<ErrorDetail> GetErrorDetail(const absl::Status& status) {
  const auto payload = status.GetPayload(kInfoUrl);
  v1::ErrorInfo info;
  if (!payload || !info.ParseFromString(std::string(*payload))) return std::nullopt;
  ErrorDetail detail;
  detail.reason = info.reason();
  detail.metadata.insert(info.metadata().begin(), info.metadata().end());
  const auto retry_payload = status.GetPayload(kRetryUrl);
  v1::RetryInfo retry;
  if (retry_payload && retry.ParseFromString(std::string(*retry_payload))) {
    detail.retry_delay = absl::Nanoseconds(
        google::protobuf::util::TimeUtil::DurationToNanoseconds(retry.retry_delay()));
  }
  return detail;
}

bool HasReason(const absl::Status& status, Reason reason) {
  const auto detail = GetErrorDetail(status);
  return detail && detail->reason == ReasonName(reason);
}

absl::Status InvalidField(std::string_view field, std::string_view value,
                          std::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, message,
                   {{"field", std::string(field)}, {"value", std::string(value)}});
}

absl::Status ResourceNotFound(std::string_view resource) {
  return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                   fmt::format("{}: no such resource, or not yours to see", resource),
                   {{"resource", std::string(resource)}});
}

}  // namespace kdbg
