// Numbers, times and enumerators as kdbgctl shows them. Pure.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kdbg::client {

std::string Bytes(std::int64_t bytes);         // "67.1 MB"
std::string Elapsed(absl::Duration duration);  // "0.4 s", "12 s", "2m41s", "3h05m", "4d"
std::string Age(const google::protobuf::Timestamp& time);     // since then; "" when not set
std::string Until(const google::protobuf::Timestamp& time);   // till then; "" when not set
std::string Moment(const google::protobuf::Timestamp& time);  // local time; "" when not set

absl::Time ToTime(const google::protobuf::Timestamp& time);
absl::Duration ToDuration(const google::protobuf::Duration& duration);
google::protobuf::Duration ToProto(absl::Duration duration);

// "b-7" of "builds/b-7".
std::string ShortName(std::string_view name);

// "90m", "2h". INVALID_ARGUMENT otherwise, and for what is not positive.
absl::StatusOr<absl::Duration> ParseTtl(const std::string& text);
// "256M", "2G", "512" (MiB), in MiB.
absl::StatusOr<std::int64_t> ParseMemory(const std::string& text);

}  // namespace kdbg::client
