#include "server/source/object_id.h"

#include <algorithm>

namespace kdbg::source {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

}  // namespace

std::optional<ObjectId> ObjectId::FromHex(std::string_view text) {
  if (text.size() != kHexDigits) return std::nullopt;
  ObjectId id;
  for (std::size_t i = 0; i < kHexDigits; ++i) {
    const std::size_t digit = kDigits.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    id.bytes[i / 2] = static_cast<std::uint8_t>(id.bytes[i / 2] << 4 | digit);
  }
  return id;
}

ObjectId ObjectId::FromBytes(std::string_view raw) {
  ObjectId id;
  std::copy_n(raw.begin(), kBytes, id.bytes.begin());
  return id;
}

std::string ObjectId::Hex() const {
  std::string text;
  text.reserve(kHexDigits);
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 0xf];
  }
  return text;
}

}  // namespace kdbg::source
