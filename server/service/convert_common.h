// What every service converts: times, architectures, failures; and checks of fields that several
// have. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "kdbg/v1/common.pb.h"
#include "proto/contract/architecture.h"

namespace kdbg::service {

void Set(absl::Time time, google::protobuf::Timestamp* message);
void Set(absl::Duration duration, google::protobuf::Duration* message);
// INVALID_ARGUMENT unless it is a valid, positive duration.
absl::StatusOr<absl::Duration> PositiveDuration(const google::protobuf::Duration& message,
                                                std::string_view field);

v1::Architecture ToMessage(Architecture architecture);
// Unspecified is the server's own.
absl::StatusOr<Architecture> FromMessage(v1::Architecture architecture, std::string_view field);

// All text is made UTF-8: excerpts hold what compilers and guests printed.
v1::Failure MakeFailure(v1::Failure::Fault fault, std::string_view reason, std::string_view message,
                        std::string_view excerpt);

// At most `limit` bytes.
absl::Status CheckSize(std::string_view field, std::size_t size, std::size_t limit);
// Empty, or 8 to 64 of [A-Za-z0-9-].
absl::Status CheckRequestId(const std::string& request_id);

}  // namespace kdbg::service
