// Hexadecimal as the remote protocol uses it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kdbg::rsp {

std::optional<int> HexDigit(char digit);
std::string HexEncode(std::string_view bytes);  // two lower-case digits a byte
// nullopt for an odd length or another character.
std::optional<std::string> HexDecode(std::string_view text);
// A number of 1 to 16 digits, most significant first; nullopt otherwise.
std::optional<std::uint64_t> ParseHexNumber(std::string_view text);
// A register of up to 8 bytes as the stub gives it, in the byte order of the target: little-endian,
// as all of ours are. nullopt for other text.
std::optional<std::uint64_t> ParseRegister(std::string_view text);

}  // namespace kdbg::rsp
