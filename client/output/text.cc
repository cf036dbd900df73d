#include "client/output/text.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <charconv>
#include <cmath>

namespace kdbg::client {
namespace {
using google::protobuf::util::TimeUtil;
}  // namespace

std::string Bytes(std::int64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes)
                   : fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string Elapsed(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  const auto whole = static_cast<std::int64_t>(seconds);
  if (seconds < 10) return fmt::format("{:.1f} s", std::max(seconds, 0.0));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 48 * 3600) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d", whole / 86400);
}

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixNanos(TimeUtil::TimestampToNanoseconds(time));
}

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Nanoseconds(TimeUtil::DurationToNanoseconds(duration));
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  return TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(duration));
}

namespace {

// One unit is enough in a table.
std::string Coarse(absl::Duration duration) {
  const std::int64_t seconds = std::max<std::int64_t>(absl::ToInt64Seconds(duration), 0);
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (seconds < 120 * 60) return fmt::format("{}m", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / 86400);
}

bool IsSet(const google::protobuf::Timestamp& time) {
  return time.seconds() != 0 || time.nanos() != 0;
}

}  // namespace

std::string Age(const google::protobuf::Timestamp& time) {
  return IsSet(time) ? Coarse(absl::Now() - ToTime(time)) : "";
}

std::string Until(const google::protobuf::Timestamp& time) {
  return IsSet(time) ? Coarse(ToTime(time) - absl::Now()) : "";
}

std::string Moment(const google::protobuf::Timestamp& time) {
  return IsSet(time) ? absl::FormatTime("%Y-%m-%d %H:%M:%S", ToTime(time), absl::LocalTimeZone())
                     : "";
}

std::string ShortName(std::string_view name) {
  const auto slash = name.find('/');
  return std::string(slash == name.npos ? name : name.substr(slash + 1));
}

absl::StatusOr<absl::Duration> ParseTtl(const std::string& text) {
  absl::Duration ttl;
  if (!absl::ParseDuration(text, &ttl) || ttl <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is no duration: write 90m, 2h or 1h30m", text));
  }
  return ttl;
}

absl::StatusOr<std::int64_t> ParseMemory(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  if (unit.ends_with("iB")) unit.remove_suffix(2);
  // Whether the amount makes sense is the server's to say: it knows the host.
  if (error == std::errc() && (unit.empty() || unit == "M")) return value;
  if (error == std::errc() && unit == "G" && value <= (std::int64_t{1} << 40)) return value * 1024;
  return absl::InvalidArgumentError(
      fmt::format("'{}' is no amount of memory: write 256M or 2G", text));
}

}  // namespace kdbg::client
