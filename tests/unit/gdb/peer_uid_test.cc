#include "server/gdb/peer_uid.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/ip/v6_only.hpp>

namespace kdbg::gdb {
namespace {

using asio::ip::tcp;

// Both ends of a connection to a listener at `listen` that was called at `call`.
struct Pair {
  Pair(const char* listen, const char* call) {
    const auto address = asio::ip::make_address(listen);
    acceptor.open(address.is_v4() ? tcp::v4() : tcp::v6());
    if (address.is_v6()) acceptor.set_option(asio::ip::v6_only(false));
    acceptor.bind({address, 0});
    acceptor.listen();
    client.connect({asio::ip::make_address(call), acceptor.local_endpoint().port()});
    acceptor.accept(server);
  }
  std::optional<uid_t> Uid() { return PeerUid(server.local_endpoint(), server.remote_endpoint()); }

  asio::io_context context;
  tcp::acceptor acceptor{context};
  tcp::socket client{context};
  tcp::socket server{context};
};

TEST(PeerUid, IsOursWhenWeConnect) {
  EXPECT_EQ(Pair("127.0.0.1", "127.0.0.1").Uid(), ::getuid());
  EXPECT_EQ(Pair("0.0.0.0", "127.0.0.7").Uid(), ::getuid());
}

TEST(PeerUid, IsFoundBehindAListenerForBothFamilies) {
  EXPECT_EQ(Pair("::", "127.0.0.1").Uid(), ::getuid());
}

TEST(PeerUid, IsTheOneThatConnectedNotTheOneThatListens) {
  Pair pair("127.0.0.1", "127.0.0.1");
  if (::getuid() != 0) GTEST_SKIP() << "only root can give a socket away";
  ASSERT_EQ(::fchown(pair.client.native_handle(), 4711, 4711), 0);
  EXPECT_EQ(pair.Uid(), 4711u);
}

TEST(PeerUid, OfAConnectionThatIsNotOfThisHostIsUnknown) {
  const tcp::endpoint own(asio::ip::make_address("127.0.0.1"), 20000);
  EXPECT_EQ(PeerUid(own, {asio::ip::make_address("192.0.2.1"), 40000}), std::nullopt);
  Pair pair("127.0.0.1", "127.0.0.1");
  pair.client.close();
  EXPECT_EQ(pair.Uid(), std::nullopt) << "whoever it was has gone";
}

}  // namespace
}  // namespace kdbg::gdb
