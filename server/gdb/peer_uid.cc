#include "server/gdb/peer_uid.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>

#include "proto/support/unique_fd.h"

namespace kdbg::gdb {
namespace {

struct Question {
  nlmsghdr header;
  inet_diag_req_v2 request;
};

// A connection over IPv4 to a listener for both is an IPv4 socket at its other end.
asio::ip::address Unmapped(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return address;
}

void Copy(const asio::ip::address& address, __be32* out) {
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    std::memcpy(out, bytes.data(), bytes.size());
  } else {
    const auto bytes = address.to_v6().to_bytes();
    std::memcpy(out, bytes.data(), bytes.size());
  }
}

}  // namespace

std::optional<uid_t> PeerUid(const asio::ip::tcp::endpoint& own,
                             const asio::ip::tcp::endpoint& peer) {
  UniqueFd netlink(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return std::nullopt;
  // The kernel answers within the send; this is for one that does not.
  const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
  ::setsockopt(netlink.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);

  const asio::ip::address from = Unmapped(peer.address());
  Question question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.request.sdiag_family = from.is_v4() ? AF_INET : AF_INET6;
  question.request.sdiag_protocol = IPPROTO_TCP;
  question.request.idiag_states = ~0U;
  // The peer's socket: its source is our destination.
  question.request.id.idiag_sport = htons(peer.port());
  question.request.id.idiag_dport = htons(own.port());
  Copy(from, question.request.id.idiag_src);
  Copy(Unmapped(own.address()), question.request.id.idiag_dst);
  question.request.id.idiag_cookie[0] = question.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (::send(netlink.get(), &question, sizeof question, 0) < 0) return std::nullopt;

  alignas(nlmsghdr) char answer[4096];
  const ssize_t size = ::recv(netlink.get(), answer, sizeof answer, 0);
  nlmsghdr header;
  inet_diag_msg found;
  if (size < static_cast<ssize_t>(NLMSG_HDRLEN + sizeof found)) return std::nullopt;
  std::memcpy(&header, answer, sizeof header);
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  std::memcpy(&found, answer + NLMSG_HDRLEN, sizeof found);
  if (found.idiag_state != 1) return std::nullopt;  // TCP_ESTABLISHED: a closing one has no owner
  return found.idiag_uid;
}

}  // namespace kdbg::gdb
