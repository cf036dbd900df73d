// Sessions whose guest has a network, and the host's ports that lead into it.

#include <set>

#include "proto/contract/error.h"
#include "server/session/port_range.h"
#include "server/session/template_pool.h"
#include "tests/unit/session/sessions_fixture.h"

namespace kdbg::session {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class NetworkTest : public SessionsTest {
 protected:
  NetworkTest() {
    request_.network = vm::UserNetwork{
        .forwards = {{.guest_port = 22, .host_port = 0}, {.guest_port = 80, .host_port = 0}}};
  }
  // By the guest's port; of the machine made last.
  std::map<int, int> Forwarded() const { return PortsOf(hypervisor_.created().back().network); }
  static std::map<int, int> PortsOf(const std::optional<vm::UserNetwork>& network) {
    std::map<int, int> ports;
    for (const vm::PortForward& forward : network.value_or(vm::UserNetwork()).forwards) {
      ports[forward.guest_port] = forward.host_port;
    }
    return ports;
  }
};

TEST_F(NetworkTest, TheMachineForwardsThePortsThatTheRecordTells) {
  const std::string id = CreateReady();
  const std::map<int, int> told = PortsOf(sessions_->Get(id)->request.network);
  ASSERT_THAT(told, SizeIs(2));
  EXPECT_EQ(told, Forwarded());
  const std::set<int> all = {told.at(22), told.at(80), sessions_->Get(id)->gdb_port, 0};
  EXPECT_THAT(all, SizeIs(4));
}

TEST_F(NetworkTest, OneWithoutForwardsStillHasItsDevice) {
  request_.network->forwards.clear();
  const std::string id = CreateReady();
  EXPECT_TRUE(hypervisor_.created().back().network.has_value());
  Open();
  EXPECT_TRUE(sessions_->Get(id)->request.network.has_value());
}

TEST_F(NetworkTest, AResetAndARestartKeepItsPorts) {
  const std::string id = CreateReady();
  const std::map<int, int> before = Forwarded();
  Open();
  EXPECT_EQ(PortsOf(sessions_->Get(id)->request.network), before);
  ASSERT_TRUE(sessions_->Reset(id).ok());
  ASSERT_EQ(AwaitState(id, SessionState::kReady).state, SessionState::kReady);
  EXPECT_THAT(hypervisor_.created(), SizeIs(2));
  EXPECT_EQ(Forwarded(), before);
}

TEST(PortRangeTest, APromisedPortIsNobodyElsesUntilItIsGivenBack) {
  const int free = gdb::ReservedPort::Bind("127.0.0.1", 0)->port();
  const PortRange range("127.0.0.1", free, free);
  absl::StatusOr<PortRange::Promise> promised = range.PromiseLoopback();
  ASSERT_TRUE(promised.ok()) << promised.status();
  EXPECT_EQ(**promised, free);
  EXPECT_TRUE(HasReason(range.Take().status(), Reason::kNoFreePort));
  EXPECT_TRUE(HasReason(range.PromiseLoopback().status(), Reason::kNoFreePort));
  promised->reset();
  EXPECT_TRUE(range.Take().ok());
}

TEST_F(NetworkTest, ItBootsColdHoweverOftenItIsAskedFor) {
  limits_.template_memory_mib = 4096;
  Open();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sessions_->Get(CreateReady())->origin, Origin::kCold);
  }
  guest::GuestSpec guest;
  const guest::StopPoint stop = guest::StopAtSymbol{};
  EXPECT_TRUE(sessions_->templates().KeyOf(guest, stop).has_value());
  guest.network.emplace();
  EXPECT_FALSE(sessions_->templates().KeyOf(guest, stop).has_value());
}

TEST_F(NetworkTest, ItCannotBeSaved) {
  const auto saved = sessions_->Save(CreateReady(), "alice");
  EXPECT_TRUE(absl::IsFailedPrecondition(saved.status()));
  EXPECT_THAT(std::string(saved.status().message()), HasSubstr("has a network"));
}

}  // namespace
}  // namespace kdbg::session
