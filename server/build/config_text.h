// Config files of kernel and BusyBox as text: parsed strictly when a caller sends one, loosely when
// make wrote it; and merged, the later entry winning.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kdbg::build {

struct ConfigEntry {
  std::string symbol;  // without CONFIG_
  std::string value;   // y, m, n, a number, or "text" in its quotes
  int line = 0;

  // As in a .config: "CONFIG_X=y", "# CONFIG_X is not set".
  std::string ToLine() const;
};

// INVALID_ARGUMENT (kConfigInvalid; metadata: line) naming the first line of `name` that is neither
// empty, a comment nor an entry.
absl::StatusOr<std::vector<ConfigEntry>> ParseConfigText(std::string_view text,
                                                         std::string_view name);

// One "CONFIG_X=y".
absl::StatusOr<ConfigEntry> ParseConfigItem(std::string_view item);

// What a config says of each symbol.
class ConfigValues {
 public:
  ConfigValues() = default;
  // Lines that are no entries are passed over.
  static ConfigValues FromText(std::string_view text);

  // "n" for a symbol that is not there.
  std::string_view Get(std::string_view symbol) const;
  bool Has(std::string_view symbol) const { return values_.find(symbol) != values_.end(); }
  void Set(std::string symbol, std::string value) { values_[std::move(symbol)] = std::move(value); }

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

// One entry per symbol, the last one, in the order of those.
std::vector<ConfigEntry> MergeEntries(const std::vector<ConfigEntry>& entries);

// As the text of a fragment.
std::string ToText(const std::vector<ConfigEntry>& entries);

// `base` without its entries for the symbols of `entries`, then `entries`.
std::string MergeOver(std::string_view base, const std::vector<ConfigEntry>& entries);

}  // namespace kdbg::build
