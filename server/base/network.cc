#include "server/base/network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace kdbg {
namespace {

constexpr int kMappedBits = 96;  // ::ffff:0:0/96

struct Address {
  std::array<std::uint8_t, 16> bytes{};
  bool v4 = false;
};

std::optional<Address> ParseAddress(const std::string& text) {
  Address address;
  if (::inet_pton(AF_INET, text.c_str(), address.bytes.data() + 12) == 1) {
    address.bytes[10] = address.bytes[11] = 0xff;
    address.v4 = true;
    return address;
  }
  if (::inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

// The bits after the first `count`, if any is set.
bool AnyAfter(const std::array<std::uint8_t, 16>& bytes, int count) {
  for (int bit = count; bit < 128; ++bit) {
    if ((bytes[static_cast<std::size_t>(bit / 8)] >> (7 - bit % 8) & 1) != 0) return true;
  }
  return false;
}

}  // namespace

std::optional<Network> Network::Parse(const std::string& text) {
  const std::size_t slash = text.find('/');
  const std::optional<Address> address = ParseAddress(text.substr(0, slash));
  if (!address) return std::nullopt;
  Network network;
  network.address_ = address->bytes;
  if (slash == std::string::npos) return network;
  const char* begin = text.data() + slash + 1;
  const char* end = text.data() + text.size();
  int prefix = 0;
  const auto [stop, error] = std::from_chars(begin, end, prefix);
  if (error != std::errc() || stop != end || prefix < 0) return std::nullopt;
  network.prefix_ = address->v4 ? kMappedBits + prefix : prefix;
  if (network.prefix_ > 128 || AnyAfter(network.address_, network.prefix_)) return std::nullopt;
  return network;
}

bool Network::Contains(const std::string& text) const {
  const std::optional<Address> address = ParseAddress(text);
  if (!address) return false;
  std::array<std::uint8_t, 16> difference;
  for (std::size_t i = 0; i < 16; ++i) difference[i] = address->bytes[i] ^ address_[i];
  for (int bit = 0; bit < prefix_; ++bit) {
    if ((difference[static_cast<std::size_t>(bit / 8)] >> (7 - bit % 8) & 1) != 0) return false;
  }
  return true;
}

}  // namespace kdbg
