// QEMU's monitor is a console on the host (`migrate "exec:id"` runs a command there), and the stub
// takes a line for it from anybody. What reaches it are two questions of kdbgd's own, no client's
// words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/rsp/hex.h"
#include "tests/unit/accel/far_gdb.h"

namespace kdbg {
namespace {

using ::testing::AnyOf;
using ::testing::MatchesRegex;

// What `help` of QEMU 7.2 lists.
constexpr const char* kCommands[] = {"announce_self",
                                     "balloon",
                                     "block_job_cancel",
                                     "block_job_complete",
                                     "block_job_pause",
                                     "block_job_resume",
                                     "block_job_set_speed",
                                     "block_resize",
                                     "block_set_io_throttle",
                                     "block_stream",
                                     "boot_set",
                                     "calc_dirty_rate",
                                     "cancel_vcpu_dirty_limit",
                                     "change",
                                     "chardev-add",
                                     "chardev-change",
                                     "chardev-remove",
                                     "chardev-send-break",
                                     "client_migrate_info",
                                     "closefd",
                                     "commit",
                                     "cont",
                                     "c",
                                     "cpu",
                                     "delvm",
                                     "device_add",
                                     "device_del",
                                     "drive_add",
                                     "drive_backup",
                                     "drive_del",
                                     "drive_mirror",
                                     "dump-guest-memory",
                                     "dumpdtb",
                                     "eject",
                                     "exit_preconfig",
                                     "expire_password",
                                     "gdbserver",
                                     "getfd",
                                     "gpa2hpa",
                                     "gpa2hva",
                                     "gva2gpa",
                                     "help",
                                     "?",
                                     "hostfwd_add",
                                     "hostfwd_remove",
                                     "i",
                                     "info",
                                     "loadvm",
                                     "log",
                                     "logfile",
                                     "mce",
                                     "memsave",
                                     "migrate",
                                     "migrate_cancel",
                                     "migrate_continue",
                                     "migrate_incoming",
                                     "migrate_pause",
                                     "migrate_recover",
                                     "migrate_set_capability",
                                     "migrate_set_parameter",
                                     "migrate_start_postcopy",
                                     "mouse_button",
                                     "mouse_move",
                                     "mouse_set",
                                     "nbd_server_add",
                                     "nbd_server_remove",
                                     "nbd_server_start",
                                     "nbd_server_stop",
                                     "netdev_add",
                                     "netdev_del",
                                     "nmi",
                                     "o",
                                     "object_add",
                                     "object_del",
                                     "pcie_aer_inject_error",
                                     "pmemsave",
                                     "print",
                                     "p",
                                     "qemu-io",
                                     "qom-get",
                                     "qom-list",
                                     "qom-set",
                                     "quit",
                                     "q",
                                     "replay_break",
                                     "replay_delete_break",
                                     "replay_seek",
                                     "ringbuf_read",
                                     "ringbuf_write",
                                     "savevm",
                                     "screendump",
                                     "sendkey",
                                     "set_link",
                                     "set_password",
                                     "set_vcpu_dirty_limit",
                                     "singlestep",
                                     "snapshot_blkdev",
                                     "snapshot_blkdev_internal",
                                     "snapshot_delete_blkdev_internal",
                                     "stopcapture",
                                     "stop",
                                     "s",
                                     "sum",
                                     "sync-profile",
                                     "system_powerdown",
                                     "system_reset",
                                     "system_wakeup",
                                     "trace-event",
                                     "watchdog_action",
                                     "wavcapture",
                                     "x",
                                     "x_colo_lost_heartbeat",
                                     "xp"};

class MonitorTest : public ::testing::Test {
 protected:
  void ExpectOnlyOurOwnQuestions() {
    int lines = 0;
    for (const std::string& packet : here_.stub().packets()) {
      if (packet.compare(0, 5, "qRcmd") != 0) continue;
      ++lines;
      EXPECT_THAT(rsp::HexDecode(packet.substr(6)).value_or(packet),
                  AnyOf(MatchesRegex("cpu [0-9]+"), MatchesRegex("gva2gpa 0x[0-9a-f]+"),
                        MatchesRegex("gpa2hva 0x[0-9a-f]+")));
    }
    lines_ = lines;
  }
  static std::vector<std::string> Attempts() {
    std::vector<std::string> attempts;
    for (const std::string command : kCommands) {
      attempts.push_back(command);
      attempts.push_back(command + " exec:id");
      attempts.push_back("info\n" + command + " 0\n");
      attempts.push_back("cpu 0;" + command);
    }
    return attempts;
  }

  GuestAndDoor here_{SimulatedGuest::Breakpoints::kInvisible};
  int lines_ = 0;
};

TEST_F(MonitorTest, NoCommandOfAGdbAtThePortReachesQemu) {
  gdb::GdbClient client(here_.door()->port());
  client.Attach();
  for (const std::string& attempt : Attempts()) {
    EXPECT_EQ(client.Ask("qRcmd," + rsp::HexEncode(attempt)),
              "O" + rsp::HexEncode("monitor " + attempt + "\n"))
        << "answered by the session";
    EXPECT_EQ(client.Read(), "OK");
  }
  ExpectOnlyOurOwnQuestions();
  EXPECT_EQ(lines_, 0);
}

TEST_F(MonitorTest, NoCommandOfAFarGdbReachesQemu) {
  FarGdb gdb(here_.door());
  gdb.Ask("g");
  for (const std::string& attempt : Attempts()) {
    EXPECT_EQ(gdb.Ask("qRcmd," + rsp::HexEncode(attempt)),
              "O" + rsp::HexEncode("monitor " + attempt + "\n"));
    EXPECT_EQ(gdb.Read(), "OK");
    // As a number, or as a thread.
    gdb.Ask("m" + attempt + ",8");
    gdb.Ask("mffff888000200000," + attempt);
    gdb.Ask("Hg" + attempt);
    gdb.Ask("Z0," + attempt + ",1");
  }
  gdb.Ask("mffff888000200000,8");
  ExpectOnlyOurOwnQuestions();
  EXPECT_GT(lines_, 0);
}

}  // namespace
}  // namespace kdbg
