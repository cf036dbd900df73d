#include "server/host/fd_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>

#include "tests/support/temp_socket.h"

namespace kdbg::host {
namespace {

// A service manager reduced to its socket.
class FdStoreTest : public testing::Test {
 protected:
  FdStoreTest() {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.path().copy(address.sun_path, sizeof address.sun_path - 1);
    manager_.Reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(manager_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::setenv("NOTIFY_SOCKET", path_.path().c_str(), 1);
  }
  ~FdStoreTest() override { ::unsetenv("NOTIFY_SOCKET"); }

  // What it is told next; a descriptor that came along goes to `fd`.
  std::string Told(UniqueFd* fd = nullptr) {
    char text[256] = {};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec part = {.iov_base = text, .iov_len = sizeof text - 1};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(manager_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) return "nothing";
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
        header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(header), sizeof passed);
      UniqueFd close_or_keep(passed);
      if (fd != nullptr) *fd = std::move(close_or_keep);
    }
    return text;
  }

  TempSocket path_;
  UniqueFd manager_;
};

TEST_F(FdStoreTest, WhatIsHeldIsThatDescriptorUnderItsName) {
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  FdStore::Hold("gdb-21000", write_end.get());
  UniqueFd held;
  EXPECT_EQ(Told(&held), "FDSTORE=1\nFDNAME=gdb-21000");
  write_end.Reset();
  ASSERT_EQ(::write(held.get(), "x", 1), 1) << "it outlives ours";
  FdStore::LetGo("gdb-21000");
  EXPECT_EQ(Told(), "FDSTOREREMOVE=1\nFDNAME=gdb-21000");
}

TEST_F(FdStoreTest, WhatWasHeldIsTakenOnceAndTheRestIsLetGo) {
  std::map<std::string, UniqueFd> held;
  held["gdb-1"] = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  held["gdb-2"] = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  held["/run/kdbgd.sock"] = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  FdStore store(std::move(held));
  EXPECT_TRUE(store.Take("gdb-1"));
  EXPECT_FALSE(store.Take("gdb-1"));
  EXPECT_FALSE(store.Take("gdb-3"));
  EXPECT_EQ(Told(), "nothing") << "what was taken stays held";
  store.LetGoOfTheRest("gdb-");
  EXPECT_EQ(Told(), "FDSTOREREMOVE=1\nFDNAME=gdb-2");
  EXPECT_EQ(Told(), "nothing");
  EXPECT_TRUE(store.Take("/run/kdbgd.sock"));
}

TEST(FdStoreWithoutAManagerTest, NothingIsHeldAndNothingFails) {
  ASSERT_EQ(::getenv("NOTIFY_SOCKET"), nullptr);
  FdStore::Hold("gdb-21000", STDIN_FILENO);
  FdStore::LetGo("gdb-21000");
  EXPECT_TRUE(FdStore::HeldForUs().empty());
}

}  // namespace
}  // namespace kdbg::host
