// The 20 bytes that name a git object. (The server's repository is a SHA-1 one.)
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kdbg::source {

struct ObjectId {
  static constexpr std::size_t kBytes = 20;
  static constexpr std::size_t kHexDigits = 2 * kBytes;

  std::array<std::uint8_t, kBytes> bytes{};

  // nullopt unless `text` is 40 lower-case hex digits.
  static std::optional<ObjectId> FromHex(std::string_view text);
  // `raw` has kBytes bytes, as in a tree object.
  static ObjectId FromBytes(std::string_view raw);
  std::string Hex() const;

  auto operator<=>(const ObjectId&) const = default;

  template <typename H>
  friend H AbslHashValue(H h, const ObjectId& id) {
    return H::combine(std::move(h), id.bytes);
  }
};

}  // namespace kdbg::source
