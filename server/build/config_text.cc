#include "server/build/config_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

constexpr std::string_view kPrefix = "CONFIG_";
constexpr std::string_view kNotSet = " is not set";

bool IsSymbol(std::string_view text) {
  return !text.empty() && text.size() <= 128 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '_';
         });
}

bool IsNumber(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c >= '0' && c <= '9') ||
           (hexadecimal && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')));
  });
}

bool IsQuoted(std::string_view text) {
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
  for (std::size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == '"') return false;
    if (text[i] == '\\' && ++i + 1 >= text.size()) return false;
    if (static_cast<unsigned char>(text[i]) < 0x20 && text[i] != '\t') return false;
  }
  return true;
}

bool IsValue(std::string_view text) {
  return text == "y" || text == "m" || text == "n" || IsNumber(text) || IsQuoted(text);
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

std::optional<ConfigEntry> ParseEntry(std::string_view line) {
  if (line.starts_with("# ") && line.ends_with(kNotSet)) {
    std::string_view symbol = line.substr(2, line.size() - 2 - kNotSet.size());
    if (!symbol.starts_with(kPrefix)) return std::nullopt;
    symbol.remove_prefix(kPrefix.size());
    if (!IsSymbol(symbol)) return std::nullopt;
    return ConfigEntry{std::string(symbol), "n"};
  }
  if (!line.starts_with(kPrefix)) return std::nullopt;
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  const std::string_view symbol = line.substr(kPrefix.size(), equals - kPrefix.size());
  const std::string_view value = line.substr(equals + 1);
  if (!IsSymbol(symbol) || !IsValue(value)) return std::nullopt;
  return ConfigEntry{std::string(symbol), std::string(value)};
}

// What a message may show of a stranger's line.
std::string Shown(std::string_view line) {
  std::string shown;
  for (unsigned char c : line.substr(0, 60)) shown += c >= 0x20 && c < 0x7f ? char(c) : '?';
  return shown;
}

template <typename Function>
void ForEachLine(std::string_view text, Function function) {
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = text.find('\n');
    if (!function(number, Trim(text.substr(0, end)))) return;
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

std::string ConfigEntry::ToLine() const {
  if (value == "n") return fmt::format("# CONFIG_{} is not set", symbol);
  return fmt::format("CONFIG_{}={}", symbol, value);
}

absl::StatusOr<std::vector<ConfigEntry>> ParseConfigText(std::string_view text,
                                                         std::string_view name) {
  std::vector<ConfigEntry> entries;
  absl::Status status;
  ForEachLine(text, [&](int number, std::string_view line) {
    if (line.empty()) return true;
    if (auto entry = ParseEntry(line)) {
      entry->line = number;
      entries.push_back(*std::move(entry));
      return true;
    }
    if (line.starts_with('#') && line.find('\0') == std::string_view::npos) return true;
    status = MakeError(
        absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
        fmt::format("{}, line {}: \"{}\" is no config entry; write CONFIG_NAME=y, CONFIG_NAME=n, "
                    "CONFIG_NAME=<number> or CONFIG_NAME=\"text\"",
                    name, number, Shown(line)),
        {{"line", std::to_string(number)}, {"config", std::string(name)}, {"text", Shown(line)}});
    return false;
  });
  if (!status.ok()) return status;
  return entries;
}

absl::StatusOr<ConfigEntry> ParseConfigItem(std::string_view item) {
  if (auto entry = ParseEntry(Trim(item)); entry && !item.starts_with('#')) return *entry;
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
                   fmt::format("\"{}\" is no config item; write it as CONFIG_NAME=y, "
                               "CONFIG_NAME=n, CONFIG_NAME=<number> or CONFIG_NAME=\"text\"",
                               Shown(item)),
                   {{"item", Shown(item)}});
}

ConfigValues ConfigValues::FromText(std::string_view text) {
  ConfigValues values;
  ForEachLine(text, [&](int, std::string_view line) {
    if (auto entry = ParseEntry(line)) {
      values.Set(std::move(entry->symbol), std::move(entry->value));
    }
    return true;
  });
  return values;
}

std::string_view ConfigValues::Get(std::string_view symbol) const {
  const auto found = values_.find(symbol);
  return found == values_.end() ? std::string_view("n") : found->second;
}

std::vector<ConfigEntry> MergeEntries(const std::vector<ConfigEntry>& entries) {
  std::set<std::string_view> seen;
  std::vector<ConfigEntry> merged;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (seen.insert(entry->symbol).second) merged.push_back(*entry);
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

std::string ToText(const std::vector<ConfigEntry>& entries) {
  std::string text;
  for (const ConfigEntry& entry : entries) text += entry.ToLine() + "\n";
  return text;
}

std::string MergeOver(std::string_view base, const std::vector<ConfigEntry>& entries) {
  std::set<std::string_view> replaced;
  for (const ConfigEntry& entry : entries) replaced.insert(entry.symbol);
  std::string merged;
  ForEachLine(base, [&](int, std::string_view line) {
    const auto entry = ParseEntry(line);
    if (entry && !replaced.contains(entry->symbol)) merged.append(line).append("\n");
    return true;
  });
  return merged + ToText(entries);
}

}  // namespace kdbg::build
