#include "server/guest/symbol_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::guest {
namespace {

constexpr std::size_t kMaxMapBytes = std::size_t{64} << 20;

struct MapLine {
  std::uint64_t address = 0;
  char type = 0;
  std::string_view name;
};

// "ffffffff81000000 T _stext"
bool ParseLine(std::string_view text, MapLine& line) {
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), line.address, 16);
  if (error != std::errc() || text.data() + text.size() - end < 4) return false;
  line.type = end[1];
  line.name = text.substr(static_cast<std::size_t>(end - text.data()) + 3);
  return end[0] == ' ' && end[2] == ' ';
}

}  // namespace

std::map<std::string, std::uint64_t, std::less<>> FindFunctions(
    std::string_view system_map, std::span<const std::string_view> symbols) {
  std::map<std::string, std::uint64_t, std::less<>> found;
  std::map<std::string, char, std::less<>> types;
  while (!system_map.empty()) {
    const std::size_t end = std::min(system_map.find('\n'), system_map.size());
    MapLine line;
    const bool parsed = ParseLine(system_map.substr(0, end), line);
    system_map.remove_prefix(std::min(end + 1, system_map.size()));
    if (!parsed || (line.type != 'T' && line.type != 't' && line.type != 'W' && line.type != 'w')) {
      continue;
    }
    if (std::find(symbols.begin(), symbols.end(), line.name) == symbols.end()) continue;
    const auto known = types.find(line.name);
    if (known != types.end() && (known->second == 'T' || line.type != 'T')) continue;
    types[std::string(line.name)] = line.type;
    found[std::string(line.name)] = line.address;
  }
  return found;
}

absl::StatusOr<std::uint64_t> FindFunction(const std::filesystem::path& system_map,
                                           std::string_view symbol) {
  KDBG_ASSIGN_OR_RETURN(const std::string text, ReadFile(system_map, kMaxMapBytes));
  const auto found = FindFunctions(text, std::span(&symbol, 1));
  if (found.empty()) {
    return MakeError(
        absl::StatusCode::kNotFound, Reason::kSymbolNotFound,
        fmt::format("the kernel has no function {}: it may be inlined, in a module, or "
                    "compiled out; choose another symbol",
                    symbol),
        {{"symbol", std::string(symbol)}});
  }
  return found.begin()->second;
}

}  // namespace kdbg::guest
