// Addresses of functions from a kernel's System.map.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg::guest {

// The address of the function `symbol`; of several of this name a global one, else the first.
//   NOT_FOUND  kSymbolNotFound; metadata symbol
absl::StatusOr<std::uint64_t> FindFunction(const std::filesystem::path& system_map,
                                           std::string_view symbol);

// The same on the text itself, for all of `symbols` in one pass; those not there are left out.
std::map<std::string, std::uint64_t, std::less<>> FindFunctions(
    std::string_view system_map, std::span<const std::string_view> symbols);

}  // namespace kdbg::guest
