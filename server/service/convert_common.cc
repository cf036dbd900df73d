#include "server/service/convert_common.h"

#include <fmt/format.h>

#include <algorithm>

#include "google/protobuf/util/time_util.h"
#include "proto/contract/error.h"
#include "proto/contract/utf8.h"

namespace kdbg::service {

using google::protobuf::util::TimeUtil;

void Set(absl::Time time, google::protobuf::Timestamp* message) {
  // From year 1 to 9999: infinite times are no valid timestamps.
  constexpr std::int64_t kFirst = TimeUtil::kTimestampMinSeconds * 1'000'000;
  constexpr std::int64_t kLast = TimeUtil::kTimestampMaxSeconds * 1'000'000;
  *message = TimeUtil::MicrosecondsToTimestamp(std::clamp(absl::ToUnixMicros(time), kFirst, kLast));
}

void Set(absl::Duration duration, google::protobuf::Duration* message) {
  constexpr std::int64_t kLast = TimeUtil::kDurationMaxSeconds * 1'000'000;
  *message = TimeUtil::MicrosecondsToDuration(
      std::clamp(absl::ToInt64Microseconds(duration), -kLast, kLast));
}

absl::StatusOr<absl::Duration> PositiveDuration(const google::protobuf::Duration& message,
                                                std::string_view field) {
  const bool valid = message.seconds() >= TimeUtil::kDurationMinSeconds &&
                     message.seconds() <= TimeUtil::kDurationMaxSeconds &&
                     message.nanos() > -1'000'000'000 && message.nanos() < 1'000'000'000;
  const absl::Duration duration =
      valid ? absl::Seconds(message.seconds()) + absl::Nanoseconds(message.nanos())
            : absl::ZeroDuration();
  if (duration > absl::ZeroDuration()) return duration;
  return InvalidField(field, fmt::format("{}s", message.seconds()),
                      fmt::format("{} must be a time span above zero", field));
}

v1::Architecture ToMessage(Architecture architecture) {
  switch (architecture) {
    case Architecture::kX86_64:
      return v1::ARCHITECTURE_X86_64;
    case Architecture::kArm64:
      return v1::ARCHITECTURE_ARM64;
    case Architecture::kRiscv64:
      return v1::ARCHITECTURE_RISCV64;
  }
  return v1::ARCHITECTURE_UNSPECIFIED;
}

absl::StatusOr<Architecture> FromMessage(v1::Architecture architecture, std::string_view field) {
  switch (architecture) {
    case v1::ARCHITECTURE_UNSPECIFIED:
      return HostArchitecture();
    case v1::ARCHITECTURE_X86_64:
      return Architecture::kX86_64;
    case v1::ARCHITECTURE_ARM64:
      return Architecture::kArm64;
    case v1::ARCHITECTURE_RISCV64:
      return Architecture::kRiscv64;
    default:
      return InvalidField(
          field, std::to_string(architecture),
          fmt::format("{} names no architecture of this server: GetServerInfo lists them", field));
  }
}

v1::Failure MakeFailure(v1::Failure::Fault fault, std::string_view reason, std::string_view message,
                        std::string_view excerpt) {
  v1::Failure failure;
  failure.set_fault(fault);
  failure.set_reason(std::string(reason));
  failure.set_message(ValidUtf8(message));
  failure.set_excerpt(ValidUtf8(excerpt));
  return failure;
}

absl::Status CheckSize(std::string_view field, std::size_t size, std::size_t limit) {
  if (size <= limit) return absl::OkStatus();
  return InvalidField(field, fmt::format("{} bytes", size),
                      fmt::format("{} has {} bytes; at most {} are taken", field, size, limit));
}

absl::Status CheckRequestId(const std::string& request_id) {
  if (request_id.empty()) return absl::OkStatus();
  const bool clean = std::all_of(request_id.begin(), request_id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (clean && request_id.size() >= 8 && request_id.size() <= 64) return absl::OkStatus();
  return InvalidField("request_id", request_id.substr(0, 64), "request_id is no UUID");
}

}  // namespace kdbg::service
