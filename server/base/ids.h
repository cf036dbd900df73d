// Ids of resources: short enough to type, random enough not to be guessed or met twice.
#pragma once

#include <string>
#include <string_view>

namespace kdbg {

// "b-k3v9x2qf" for prefix "b": eight characters of a 32-letter alphabet without 0, 1, l and o, from
// getrandom(2).
std::string NewId(std::string_view prefix);

}  // namespace kdbg
