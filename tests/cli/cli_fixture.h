// kdbgctl as a user runs it: a scratch home, a PATH of our own in front, the fake server as
// KDBG_SERVER.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
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

std::string KdbgctlPath();
v1::Build MakeBuild(const std::string& id, v1::Build::State state);

}  // namespace kdbg::test
