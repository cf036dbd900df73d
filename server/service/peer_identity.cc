#include "server/service/peer_identity.h"

#include <fmt/format.h>

#include <charconv>

namespace kdbg::service {
namespace {

constexpr std::string_view kUidPrefix = "unix-abstract:kdbg/uid=";
constexpr std::string_view kTlsPrefix = "unix-abstract:kdbg/tls/";

// Whether '=' and '/' come percent-encoded depends on the version of gRPC.
std::string Unescape(std::string_view peer) {
  std::string name;
  for (std::size_t i = 0; i < peer.size(); ++i) {
    const std::string_view escape = peer.substr(i, 3);
    if (escape == "%3D" || escape == "%3d" || escape == "%2F" || escape == "%2f") {
      name += escape[1] == '3' ? '=' : '/';
      i += 2;
    } else {
      name += peer[i];
    }
  }
  return name;
}

}  // namespace

std::string RelayName(uid_t uid, std::uint64_t connection) {
  return std::string(1, '\0') + fmt::format("kdbg/uid={}/{:x}", uid, connection);
}

std::string TlsRelayName(std::uint64_t connection) {
  return std::string(1, '\0') + fmt::format("kdbg/tls/{:x}", connection);
}

std::optional<uid_t> UidOfPeer(std::string_view peer) {
  const std::string name = Unescape(peer);
  if (!name.starts_with(kUidPrefix)) return std::nullopt;
  const char* const begin = name.data() + kUidPrefix.size();
  const char* const end = name.data() + name.size();
  uid_t uid = 0;
  const auto [rest, error] = std::from_chars(begin, end, uid);
  if (error != std::errc() || rest == begin || rest == end || *rest != '/') return std::nullopt;
  if (uid == static_cast<uid_t>(-1)) return std::nullopt;
  return uid;
}

std::optional<std::uint64_t> TlsConnectionOfPeer(std::string_view peer) {
  const std::string name = Unescape(peer);
  if (!name.starts_with(kTlsPrefix)) return std::nullopt;
  const char* const begin = name.data() + kTlsPrefix.size();
  const char* const end = name.data() + name.size();
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(begin, end, number, 16);
  if (error != std::errc() || rest == begin || rest != end) return std::nullopt;
  return number;
}

}  // namespace kdbg::service
