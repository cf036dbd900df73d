// What the user may have meant by a word that is no command. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kdbg::client {

// The known word closest to `word`, empty when none is near.
std::string NearestWord(std::string_view word, std::span<const std::string> known);

}  // namespace kdbg::client
