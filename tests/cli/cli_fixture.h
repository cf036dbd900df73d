// kdbgctl as a user runs it: a scratch home, a PATH of our own in front, the fake server as
// KDBG_SERVER.
#pragma once

#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "proto/support/subprocess.h"
#include "tests/cli/fake_server.h"

namespace kdbg::test {

struct CliResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class CliTest : public ::testing::Test {
 protected:
  CliTest();
  ~CliTest() override;

  CliResult Run(const std::vector<std::string>& arguments, const std::string& input = "");
  // A process of it with these descriptors; stderr and stdout default to /dev/null.
  Subprocess Start(const std::vector<std::string>& arguments,
                   const std::vector<std::pair<int, int>>& descriptors);

  FakeState& state() { return server_.state(); }
  std::filesystem::path home() const { return home_; }
  // An executable script found before the system's.
  void WriteProgram(const std::string& name, const std::string& text);
  std::string WriteFile(const std::string& name, const std::string& text);
  std::string server_address() const;

  // A READY session on a kernel whose artifact has these files; owner alice, who is also the
  // caller.
  void AddSession(const std::map<std::string, std::string>& files);

  std::filesystem::path home_;
  FakeServer server_;
  std::vector<std::string> environment_;
};

// A terminal that a test types on.
class Terminal {
 public:
  Terminal() { ::openpty(&master_, &slave_, nullptr, nullptr, nullptr); }
  ~Terminal() {
    ::close(master_);
    ::close(slave_);
  }
  int slave() const { return slave_; }
  void Type(std::string_view keys) { (void)!::write(master_, keys.data(), keys.size()); }
  std::string ReadUntil(const std::string& text) {
    std::string seen;
    char buffer[256];
    while (seen.find(text) == std::string::npos) {
      const ssize_t n = ::read(master_, buffer, sizeof buffer);
      if (n <= 0) break;
      seen.append(buffer, static_cast<std::size_t>(n));
    }
    return seen;
  }
  void Resize(unsigned short columns, unsigned short rows) {
    winsize size = {};
    size.ws_col = columns;
    size.ws_row = rows;
    ::ioctl(master_, TIOCSWINSZ, &size);
  }
  void SignalForeground(int number) { ::kill(-::tcgetpgrp(master_), number); }
  bool IsRaw() const {
    termios now = {};
    ::tcgetattr(slave_, &now);
    return (now.c_lflag & ICANON) == 0;
  }

 private:
  int master_ = -1;
  int slave_ = -1;
};

v1::Build MakeBuild(const std::string& id, v1::Build::State state);

}  // namespace kdbg::test
