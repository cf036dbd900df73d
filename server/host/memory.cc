#include "server/host/memory.h"

#include <charconv>
#include <optional>
#include <string>

#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::host {
namespace {

// "MemTotal:       16384 kB"
std::optional<std::int64_t> Field(std::string_view text, std::string_view name) {
  std::size_t at = text.starts_with(name) ? 0 : text.find("\n" + std::string(name));
  if (at == std::string_view::npos) return std::nullopt;
  at = text.find_first_of("0123456789", at);
  if (at == std::string_view::npos) return std::nullopt;
  std::int64_t kilobytes = 0;
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), kilobytes);
  if (error != std::errc() || kilobytes > (INT64_MAX >> 10)) return std::nullopt;
  return kilobytes << 10;
}

}  // namespace

absl::StatusOr<HostMemory> ParseMemInfo(std::string_view text) {
  const auto total = Field(text, "MemTotal:");
  const auto available = Field(text, "MemAvailable:");
  if (!total || !available) {
    return absl::InternalError("/proc/meminfo names no MemTotal or MemAvailable");
  }
  return HostMemory{.total_bytes = *total, .available_bytes = *available};
}

absl::StatusOr<HostMemory> ReadHostMemory() {
  KDBG_ASSIGN_OR_RETURN(const std::string text, ReadFile("/proc/meminfo"));
  return ParseMemInfo(text);
}

}  // namespace kdbg::host
