// A block of IP addresses: "10.1.0.0/16", "fd00::/8", or one address.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace kdbg {

class Network {
 public:
  // nullopt for anything else, host names and bits beyond the prefix included.
  static std::optional<Network> Parse(const std::string& text);

  // Whether it holds this address; an IPv4 address written as IPv6 (::ffff:10.1.2.3) is the former.
  bool Contains(const std::string& address) const;

 private:
  std::array<std::uint8_t, 16> address_{};  // IPv4 mapped into IPv6
  int prefix_ = 128;
};

}  // namespace kdbg
